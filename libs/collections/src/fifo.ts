/** First in, first out, however long it gets: an array's `shift` moves everything behind it once there are very many. */
export class Fifo<Item> {
  private items: Item[] = [];
  private head = 0;

  get size(): number {
    return this.items.length - this.head;
  }

  push(item: Item): void {
    this.items.push(item);
  }

  shift(): Item | undefined {
    if (this.size === 0) return undefined;
    const item = this.items[this.head]!;
    // What is gone must not be kept alive by its place.
    this.items[this.head] = undefined as Item;
    this.head += 1;
    if (this.head === this.items.length) this.clear();
    else if (this.head >= compactedAt && 2 * this.head >= this.items.length) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return item;
  }

  private clear(): void {
    this.items = [];
    this.head = 0;
  }
}

/** Gone places are given back in one go when there are so many, and no fewer than those that are left. */
const compactedAt = 1_024;
