/** Ids of steps: the name, then `name:1`, `name:2`, in the order of the calls. */

export class Occurrences {
  private readonly used = new Set<string>();
  private readonly counts = new Map<string, number>();

  get size(): number {
    return this.used.size;
  }

  has(id: string): boolean {
    return this.used.has(id);
  }

  /** The id of the next step of that name. An id that somebody gave as a name is passed over. */
  next(name: string): string {
    let count = this.counts.get(name) ?? 0;
    let id = count === 0 ? name : `${name}:${count}`;
    while (this.used.has(id)) id = `${name}:${++count}`;
    this.counts.set(name, count + 1);
    this.used.add(id);
    return id;
  }
}
