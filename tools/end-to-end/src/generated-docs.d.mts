export declare const howToUpdate: string;
export declare function settleGenerated(document: string, part: string, content: string): Error | undefined;
