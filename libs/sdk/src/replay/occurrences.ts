/** Ids of steps: the name, then `name:1`, `name:2`, in the order of the calls. */

export interface Occurrences {
  /** The id of the next step of that name. An id that somebody gave as a name is passed over. */
  next(name: string): string;
  readonly size: number;
}

export function createOccurrences(): Occurrences {
  const used = new Set<string>();
  const counts = new Map<string, number>();
  return {
    next(name) {
      let count = counts.get(name) ?? 0;
      let id = count === 0 ? name : `${name}:${count}`;
      while (used.has(id)) id = `${name}:${++count}`;
      counts.set(name, count + 1);
      used.add(id);
      return id;
    },
    get size() {
      return used.size;
    },
  };
}
