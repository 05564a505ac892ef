/**
 * However a function is called, each line that it logs is kept, and once. Of branches beside one another that is so for what is written
 * within steps: a replay tells what it has passed by what is recorded, and not by branches.
 */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { HandlerContext } from '../function.js';
import { activate, define, fireTimer, impatient, newRun, turn } from '../testing/memory-run.js';
import { KeptLines } from './kept-lines.js';

type Node =
  | { kind: 'run'; fails: boolean }
  | { kind: 'sleep' }
  | { kind: 'busy' }
  | { kind: 'sequence' | 'parallel'; nodes: Node[] };

const { node } = fc.letrec<{ node: Node }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3 },
    fc.record({ kind: fc.constant('run' as const), fails: fc.boolean() }),
    fc.constant({ kind: 'sleep' as const }),
    fc.constant({ kind: 'busy' as const }),
    fc.record({
      kind: fc.constantFrom('sequence' as const, 'parallel' as const),
      nodes: fc.array(tie('node'), { maxLength: 3 }),
    }),
  ),
}));

/** Each line says where it is written; one of a step also by which attempt. */
async function play(node: Node, place: string, { step, logger }: HandlerContext<unknown>): Promise<void> {
  logger.info(`${place} begins`);
  if (node.kind === 'run') {
    await step.run(place, ({ attempt }) => {
      logger.info(`${place} attempt ${attempt}`);
      if (node.fails && attempt === 1) throw new Error('once');
    });
  } else if (node.kind === 'sleep') await step.sleep(place, '1m');
  else if (node.kind === 'busy') await turn();
  else if (node.kind === 'parallel') {
    await Promise.all(
      node.nodes.map((one, index) => play(one, `${place}.${index}`, { step, logger } as never)),
    );
  } else {
    for (const [index, one] of node.nodes.entries()) {
      await play(one, `${place}.${index}`, { step, logger } as never);
    }
  }
  logger.info(`${place} ends`);
}

function linesIn(node: Node, place: string): string[] {
  const own = node.kind === 'run' ? (node.fails ? [1, 2] : [1]).map((n) => `${place} attempt ${n}`) : [];
  const within = 'nodes' in node ? node.nodes.flatMap((one, index) => linesIn(one, `${place}.${index}`)) : [];
  return [`${place} begins`, ...own, ...within, `${place} ends`];
}

function isParallel(node: Node): boolean {
  return 'nodes' in node && (node.kind === 'parallel' || node.nodes.some(isParallel));
}

test.each(['push', 'pull'] as const)('%s', async (mode) => {
  await fc.assert(
    fc.asyncProperty(node, fc.array(fc.nat(), { maxLength: 20 }), async (program, choices) => {
      const memory = newRun();
      const definition = define(async (context) => {
        await play(program, 'a', context);
        await context.step.run('last', () => 1);
      });
      const kept: string[] = [];
      for (let calls = 0; ; calls += 1) {
        expect(calls).toBeLessThan(200);
        const keeper = new KeptLines(() => calls);
        const outcome = await activate({ run: memory, definition, mode, keeper, startTimer: impatient });
        if (outcome === 'crashed') throw new Error('nothing crashes here');
        const lines = outcome.kind === 'continue' ? keeper.takeBeforeNextCall() : keeper.take();
        kept.push(...lines.map(({ message }) => message));
        if (outcome.kind === 'completed') break;
        if (outcome.kind === 'yielded') fireTimer(memory, (count) => (choices.pop() ?? 0) % count);
      }
      const expected = linesIn(program, 'a').sort();
      const ofSteps = (lines: string[]) => lines.filter((message) => message.includes('attempt'));
      expect(ofSteps(kept).sort()).toEqual(ofSteps(expected));
      if (!isParallel(program)) expect(kept.sort()).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});
