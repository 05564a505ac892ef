/** Runs whose steps return so much that it goes by way of Postgres. */
import { createHash } from 'node:crypto';
import { defineCase } from '../case.js';
import type { AnyCase } from '../case.js';

interface Large {
  seed: number;
  /** What the step returns, and what of it the run does. */
  kibibytes: number;
  returnedKibibytes: number;
}

export const outputCases: AnyCase[] = [
  defineCase<Large>({
    name: 'large-output',
    weight: 1,
    draw: (random) => ({
      seed: random.whole(0, 1_000_000),
      kibibytes: random.whole(100, 2_048),
      returnedKibibytes: random.pick([1, 100]),
    }),
    functions: (kit) => [
      kit.define<Large>('large-output', async ({ input, step, work }) => {
        const { seed, kibibytes, returnedKibibytes } = input;
        const text = (await work('write', { forMs: 20, result: () => textOf(seed, kibibytes) })) as string;
        // What goes on afterwards is given the text by the platform.
        await step.sleep('rest', 200);
        const read = await work('read', { forMs: 20, result: () => digestOf(text) });
        return { read, returned: text.slice(0, returnedKibibytes * 1_024) };
      }),
    ],
    expect: ({ seed, kibibytes, returnedKibibytes }, { functionId }) => [
      {
        functionId: functionId('large-output'),
        status: 'completed',
        output: { read: digestOf(textOf(seed, kibibytes)), returned: textOf(seed, returnedKibibytes) },
      },
    ],
  }),
];

/** With characters that JSON escapes and UTF-8 takes several bytes for; a longer one begins like a shorter one. */
function textOf(seed: number, kibibytes: number): string {
  const line = (n: number): string => `${createHash('sha256').update(`${seed} ${n}`).digest('hex')} "ü\\ \n`;
  const lines: string[] = [];
  for (let length = 0; length < kibibytes * 1_024; length += lines.at(-1)!.length)
    lines.push(line(lines.length));
  return lines.join('').slice(0, kibibytes * 1_024);
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
