/**
 * Lines that are served in turn, one item of each: whoever is behind a long line waits for his own alone. Within a line the
 * order is kept, nothing is held back while anything waits, and a line that was empty comes after those that wait already.
 */
import { Fifo } from './fifo.js';

export class TurnQueue<Item> {
  private readonly lines = new Map<string, Line<Item>>();
  private readonly turns = new Fifo<Line<Item>>();
  private count = 0;

  get size(): number {
    return this.count;
  }

  sizeOf(line: string): number {
    return this.lines.get(line)?.items.size ?? 0;
  }

  add(name: string, item: Item): void {
    let line = this.lines.get(name);
    if (line === undefined) {
      line = { name, items: new Fifo() };
      this.lines.set(name, line);
      this.turns.push(line);
    }
    line.items.push(item);
    this.count += 1;
  }

  /** As many as there are, up to `max`. */
  take(max: number): Item[] {
    const taken: Item[] = [];
    while (taken.length < max) {
      const line = this.turns.shift();
      if (line === undefined) break;
      taken.push(line.items.shift()!);
      if (line.items.size > 0) this.turns.push(line);
      else this.lines.delete(line.name);
    }
    this.count -= taken.length;
    return taken;
  }
}

interface Line<Item> {
  name: string;
  items: Fifo<Item>;
}
