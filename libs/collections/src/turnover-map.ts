/**
 * A map for what comes and goes all the time, such as what a process has in flight. Like `Map`, in order of insertion.
 *
 * V8 keeps a `Map` in a table, and makes a new one whenever insertions have used it up; the old one points to the new one, for
 * iterators that are under way. Once a single table has lived for long enough to be moved to the old generation, everything
 * that follows it stays reachable from it, with every entry there was whenever a table was left, until the next collection
 * of the old generation: young values are moved twice and kept for seconds although they were deleted. With some
 * hundred requests in flight this cost a service 10 to 17 % of its processor time. Here a table holds cells, and a deleted
 * entry's cell is empty, so what stays behind is small; keys are numbers or strings for the same reason.
 */
export class TurnoverMap<Key extends string | number, Value extends object> {
  private readonly cells = new Map<Key, Cell<Value>>();

  get size(): number {
    return this.cells.size;
  }

  get(key: Key): Value | undefined {
    return this.cells.get(key)?.value;
  }

  has(key: Key): boolean {
    return this.cells.has(key);
  }

  /** A key that is there keeps its place. */
  set(key: Key, value: Value): void {
    const cell = this.cells.get(key);
    if (cell === undefined) this.cells.set(key, { value });
    else cell.value = value;
  }

  /** False if it was not there. */
  delete(key: Key): boolean {
    const cell = this.cells.get(key);
    if (cell === undefined) return false;
    cell.value = undefined;
    return this.cells.delete(key);
  }

  clear(): void {
    for (const cell of this.cells.values()) cell.value = undefined;
    this.cells.clear();
  }

  /** As of `Map`: entries may be deleted and added while it goes on. */
  *values(): Generator<Value, void> {
    for (const { value } of this.cells.values()) yield value!;
  }

  *[Symbol.iterator](): Generator<[Key, Value], void> {
    for (const [key, { value }] of this.cells) yield [key, value!];
  }
}

interface Cell<Value> {
  value: Value | undefined;
}
