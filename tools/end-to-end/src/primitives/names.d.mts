export declare const primitiveNames: readonly string[];
export declare const modes: readonly ['push', 'pull'];
export declare const caseNames: readonly ['happy', 'failure', 'timeout', 'crash', 'cancel'];
