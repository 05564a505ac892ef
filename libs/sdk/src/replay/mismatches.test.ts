/** Code that changes while its runs are under way: what of their record it does not fit, and that it is said once. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { MemoizedStep, MismatchedStep, Outcome } from '@ironflow/schema';
import type { IronflowFunction } from '../function.js';
import type { StepTools } from '../step-tools.js';
import { activate, define, drive, fireTimer, impatient, newRun, turn } from '../testing/memory-run.js';
import type { MemoryRun } from '../testing/memory-run.js';
import { asksNothing, invocationOf, standingStill } from '../testing/memory-run.js';
import { startActivation } from './activation.js';
import { Occurrences } from './occurrences.js';

const startTimer = impatient;

function recorded(...steps: (Pick<MemoizedStep, 'id' | 'type' | 'status'> & Partial<MemoizedStep>)[]) {
  const memory = newRun();
  for (const step of steps) memory.steps.set(step.id, { attempt: 1, ...step });
  return memory;
}
const ran = (id: string, order: number): MemoizedStep => ({
  id,
  type: 'run',
  attempt: 1,
  status: 'completed',
  order,
  output: `"${id}"`,
});
const foundBy = (outcome: Outcome | 'crashed'): string[] | undefined =>
  outcome === 'crashed' || !('mismatch' in outcome) ? undefined : outcome.mismatch?.steps.map(described);
const described = ({ kind, id, type, status, calledAs }: MismatchedStep): string =>
  `${kind} ${id}: ${type} ${status}${calledAs === undefined ? '' : `, called as ${calledAs}`}`;

describe('what the code does not fit', () => {
  test('is a completed step that it no longer calls: the run goes on without it', async () => {
    const memory = recorded(ran('old', 0), ran('new', 1));
    const outcome = await activate({
      run: memory,
      definition: define(({ step }) => step.run('new', () => 0)),
      startTimer,
    });
    expect(outcome).toMatchObject({ kind: 'completed', output: '"new"' });
    expect(foundBy(outcome)).toEqual(['not_called old: run completed']);
    expect(memory.lines).toMatchObject([{ level: 'warn', fields: { count: 1, steps: [{ id: 'old' }] } }]);
  });

  test('is a step whose place has changed, though it is called after all', async () => {
    const memory = recorded(ran('a', 0), ran('b', 1));
    const definition = define(async ({ step }) => [
      await step.run('b', () => 'again'),
      await step.run('a', () => 'again'),
    ]);
    const outcome = await activate({ run: memory, definition, startTimer });
    expect(outcome).toMatchObject({ kind: 'completed', output: '["b","a"]' });
    expect(foundBy(outcome)).toEqual(['out_of_turn a: run completed']);
  });

  test.each(['waiting', 'retrying', 'errored'] as const)(
    'is a step that is %s and was renamed: it is said as soon as the run waits, and when it ends',
    async (status) => {
      const memory = recorded(ran('a', 0), {
        id: 'nap',
        type: status === 'waiting' ? 'sleep' : 'run',
        status,
      });
      const definition = define(async ({ step }) => {
        await step.run('a', () => 'again');
        await step.sleep('rest', '1h');
        await step.sleep('more', '1h');
      });
      const outcome = await activate({ run: memory, definition, startTimer });
      expect(outcome).toMatchObject({ kind: 'yielded' });
      expect(foundBy(outcome)).toEqual([
        `out_of_turn nap: ${status === 'waiting' ? 'sleep' : 'run'} ${status}`,
      ]);
      fireTimer(memory, (count) => count - 1);
      expect(await activate({ run: memory, definition })).toMatchObject({ kind: 'yielded' });
      expect(memory.lines).toHaveLength(1);
      fireTimer(memory, (count) => count - 1);
      const end = await activate({ run: memory, definition, startTimer });
      expect(foundBy(end)).toEqual([expect.stringMatching(/^not_called nap/)]);
      expect(memory.lines).toHaveLength(2);
    },
  );

  test('is not waited for again once it is known', async () => {
    const memory = recorded({ id: 'nap', type: 'sleep', status: 'waiting' });
    const definition = define(({ step }) => step.sleep('rest', '1h'));
    await activate({ run: memory, definition, startTimer });
    // Time stands still: an activation that waited would never end.
    expect(await activate({ run: memory, definition })).toEqual({ kind: 'yielded' });
  });

  test('is a step that is called as another type, which ends the run', async () => {
    const memory = recorded({ id: 'nap', type: 'sleep', status: 'waiting' });
    const outcome = await activate({
      run: memory,
      definition: define(({ step }) => step.run('nap', () => 1)),
    });
    expect(outcome).toMatchObject({ kind: 'threw', error: { name: 'NondeterminismError' } });
    expect(foundBy(outcome)).toEqual(['type_changed nap: sleep waiting, called as run']);
  });

  test('is an item of a map and a branch that went', async () => {
    const make = (items: number[], branches: Record<string, (step: StepTools) => Promise<unknown>>) =>
      define(async ({ step }) => {
        await step.map('m', items, (n) => n);
        await step.parallel('p', branches);
        await step.sleep('rest', '1h');
      });
    const branch = (step: StepTools) => step.run('x', () => 1);
    const memory = newRun();
    await activate({ run: memory, definition: make([1, 2, 3], { left: branch, right: branch }) });
    const changed = make([1, 2], { left: branch });
    const outcome = await drive({ run: memory, definition: changed, startTimer });
    expect(outcome.kind).toBe('completed');
    expect(memory.mismatch?.steps.map(described).sort()).toEqual([
      'not_called m[2]: run completed',
      'not_called p.right.x: run completed',
    ]);
  });

  test.each(['pull', 'push'] as const)('is nothing that `patched` guards (%s)', async (mode) => {
    const memory = newRun();
    const before = define(async ({ step }) => {
      await step.run('old', () => 1);
      await step.sleep('rest', '1h');
    });
    const after = define(async ({ step }) => {
      if (await step.patched('new')) await step.run('new', () => 1);
      else await step.run('old', () => 1);
      await step.sleep('rest', '1h');
    });
    while ((await activate({ run: memory, definition: before, mode })) !== 'crashed') {
      if (memory.steps.has('rest')) break;
    }
    const outcome = await drive({ run: memory, definition: after, mode, startTimer });
    expect(outcome).toEqual({ kind: 'completed' });
    expect(memory.lines).toEqual([]);
  });

  test('is not known of a handler that throws before it has come so far', async () => {
    const memory = recorded(ran('a', 0), ran('b', 1), { id: 'nap', type: 'sleep', status: 'waiting' });
    const definition = define(async ({ step }) => {
      await step.run('a', () => 'again');
      throw new Error('the shop is closed');
    });
    const outcome = await activate({ run: memory, definition, startTimer });
    expect(outcome).toMatchObject({ kind: 'threw', error: { message: 'the shop is closed' } });
    expect(foundBy(outcome)).toBeUndefined();
  });

  test('is not known when its time is up', async () => {
    const memory = recorded(ran('a', 0), ran('b', 1));
    const activation = startActivation({
      definition: define(({ step }) => step.run('b', () => 'again')),
      invocation: invocationOf(memory, undefined),
      now: () => 0,
      random: () => 0,
      startTimer: standingStill,
      platform: asksNothing,
      log: (line) => memory.lines.push(line),
    });
    await turn();
    activation.expire();
    expect(await activation.result).toMatchObject({ outcome: { kind: 'completed', output: '"b"' } });
    expect(memory.lines).toEqual([]);
  });

  test('is not a step that is called after work of the handler’s own, as long as something else waits', async () => {
    const memory = recorded({ id: 'b', type: 'sleep', status: 'waiting' });
    const definition = define(({ step }) =>
      Promise.all([
        step.sleep('a', '1h'),
        (async () => {
          for (let turns = 0; turns < 5; turns += 1) await turn();
          await step.sleep('b', '1h');
        })(),
      ]),
    );
    expect(await activate({ run: memory, definition })).toEqual({ kind: 'yielded' });
  });
});

interface Part {
  name: string;
  type: 'run' | 'sleep';
}
const part = fc.record({
  name: fc.constantFrom('a', 'b', 'c', 'd'),
  type: fc.constantFrom('run' as const, 'sleep' as const),
});
/** Groups one after the other, each all at once. */
const program = fc.array(fc.array(part, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 5 });

function functionOf(groups: Part[][], memory: MemoryRun): IronflowFunction {
  return define(async ({ step }) => {
    const occurrences = new Occurrences();
    for (const group of groups) {
      await Promise.all(
        group.map(({ name, type }) => {
          const id = occurrences.next(name);
          if (type === 'sleep') return step.sleep(name, '1h');
          return step.run(name, () => {
            if (memory.steps.has(id)) memory.violations.push(`${id} begins although it is recorded`);
          });
        }),
      );
    }
  });
}

/** In the order of the calls; no two have an id. */
function calledBy(groups: Part[][]): Map<string, Part['type']> {
  const occurrences = new Occurrences();
  return new Map(groups.flat().map(({ name, type }) => [occurrences.next(name), type]));
}

describe('code of any shape that takes the place of other code', () => {
  test('finds exactly what it does not call or calls as another type, and nothing if it is the same', async () => {
    await fc.assert(
      fc.asyncProperty(
        program,
        program,
        fc.nat(6),
        fc.boolean(),
        async (before, other, activations, same) => {
          const after = same ? before : other;
          const memory = newRun();
          for (let n = 0; n < activations; n += 1) {
            const outcome = await activate({ run: memory, definition: functionOf(before, memory) });
            if (outcome !== 'crashed' && outcome.kind === 'completed') break;
            if (n < activations - 1) fireTimer(memory, () => 0);
          }
          const known = new Map([...memory.steps.values()].map(({ id, type }) => [id, type]));
          const outcome = await drive({ run: memory, definition: functionOf(after, memory), startTimer });
          const calls = calledBy(after);
          const found = memory.mismatch?.steps ?? [];
          const of = (kind: MismatchedStep['kind']) =>
            found.filter((step) => step.kind === kind).map(({ id }) => id);
          const clash = [...calls].find(([id, type]) => known.has(id) && known.get(id) !== type)?.[0];
          expect(memory.violations).toEqual([]);
          if (clash === undefined) {
            expect(outcome.kind).toBe('completed');
            expect(of('type_changed')).toEqual([]);
            expect(of('not_called').sort()).toEqual([...known.keys()].filter((id) => !calls.has(id)).sort());
          } else {
            expect(outcome).toMatchObject({ kind: 'threw', error: { name: 'NondeterminismError' } });
            expect(of('type_changed')).toEqual([clash]);
          }
          if (same) expect(memory.lines).toEqual([]);
          // Out of turn, and then not called: each is said once.
          expect(memory.lines.length).toBeLessThanOrEqual(2 * found.length);
        },
      ),
      { numRuns: 200 },
    );
  });
});
