interface Cell {
  passed: boolean;
  why?: string;
}
export declare function readCells(results: readonly { title: string; passed: boolean }[]): Map<string, Cell>;
export declare function faultsOf(cells: ReadonlyMap<string, Cell>): string[];
export declare function drawTable(cells: ReadonlyMap<string, Cell>): string;
