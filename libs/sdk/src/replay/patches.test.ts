/** Code that changes while its runs are under way: what `step.patched` answers, and that its answer stays. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { limits } from '@ironflow/schema';
import type { StepRecord } from '@ironflow/schema';
import type { StepTools } from '../step-tools.js';
import {
  activate,
  define,
  drive,
  impatient,
  invocationOf,
  newRun,
  asksNothing,
  standingStill,
  turn,
  valueOf,
} from '../testing/memory-run.js';
import type { MemoryRun } from '../testing/memory-run.js';
import { startActivation } from './activation.js';

const modes = ['pull', 'push'] as const;
const before = define(async ({ step }) => {
  const a = await step.run('a', () => 'a');
  const b = await step.run('b', () => 'b');
  await step.sleep('rest', '1h');
  return [a, b, await step.run('c', () => 'c')];
});
const after = define(async ({ step }) => {
  const a = await step.run('a', () => 'a again');
  const b = (await step.patched('faster'))
    ? await step.run('b, faster', () => 'faster')
    : await step.run('b', () => 'b again');
  await step.sleep('rest', '1h');
  return [a, b, await step.run('c', () => 'c')];
});
const markerOf = (memory: MemoryRun) => memory.steps.get('patched(faster)')?.output;

describe.each(modes)('patched (%s)', (mode) => {
  test('is true for a run that never saw the code before, and on all its replays', async () => {
    const memory = newRun();
    expect(valueOf(await drive({ run: memory, definition: after, mode }))).toEqual([
      'a again',
      'faster',
      'c',
    ]);
    expect(memory.records.map(({ id }) => id)).toEqual(['a', 'patched(faster)', 'b, faster', 'rest', 'c']);
    expect(markerOf(memory)).toBe('true');
    expect(memory.lines).toEqual([]);
  });

  test('is false for a run that had been past it, whose recorded steps go on to fit', async () => {
    const memory = newRun();
    expect(await activate({ run: memory, definition: before, mode })).toMatchObject(
      mode === 'pull' ? { kind: 'yielded' } : { kind: 'continue' },
    );
    expect(valueOf(await drive({ run: memory, definition: after, mode }))).toEqual(
      mode === 'pull' ? ['a', 'b', 'c'] : ['a', 'faster', 'c'],
    );
    expect(memory.lines).toEqual([]);
  });

  test('waits for its marker to be durable before the next step begins, and for nothing else', async () => {
    const memory = newRun();
    const begun: boolean[] = [];
    const definition = define(async ({ step }) => {
      expect(await step.patched('first')).toBe(true);
      await step.run('a', () => begun.push(memory.steps.has('patched(first)')));
    });
    await drive({ run: memory, definition, mode });
    expect(begun).toEqual([true]);
  });
});

describe('a run that had got so far with the code before', () => {
  const records: Record<string, Parameters<MemoryRun['steps']['set']>[1]> = {
    a: { id: 'a', type: 'run', attempt: 1, status: 'completed', order: 0, output: '"a"' },
    b: { id: 'b', type: 'run', attempt: 1, status: 'completed', order: 1, output: '"b"' },
  };
  const recorded = (...steps: MemoryRun['steps'] extends Map<string, infer Step> ? Step[] : never) => {
    const memory = newRun();
    for (const step of steps) memory.steps.set(step.id, step);
    return memory;
  };

  test('has the new way before it if nothing beyond that point is recorded', async () => {
    const memory = recorded(records.a!);
    expect(valueOf(await drive({ run: memory, definition: after }))).toEqual(['a', 'faster', 'c']);
  });

  test.each(['retrying', 'errored', 'failed'] as const)(
    'keeps to the old way if its next step is %s',
    async (status) => {
      const order = status === 'failed' ? { order: 1 } : {};
      const memory = recorded(records.a!, { id: 'b', type: 'run', attempt: 1, status, ...order });
      await activate({ run: memory, definition: after });
      expect(markerOf(memory)).toBe('false');
      expect([...memory.steps.keys()]).not.toContain('b, faster');
    },
  );

  test('keeps to the old way if it sleeps beyond it', async () => {
    const memory = recorded({ id: 'rest', type: 'sleep', attempt: 1, status: 'waiting' });
    const definition = define(async ({ step }) => {
      const answer = await step.patched('faster');
      await step.sleep('rest', '1h');
      return answer;
    });
    expect(valueOf(await drive({ run: memory, definition }))).toBe(false);
  });

  test('has the new way before it although another branch has a step recorded that had been called', async () => {
    const memory = recorded(records.a!, records.b!);
    const definition = define(({ step }) =>
      Promise.all([step.run('a', () => 1).then(() => step.patched('faster')), step.run('b', () => 2)]),
    );
    expect(valueOf(await drive({ run: memory, definition }))).toEqual([true, 'b']);
  });

  test('is not held to steps that this code has gone past', async () => {
    const memory = recorded({ ...records.b!, order: 0 }, { ...records.a!, order: 1 });
    const definition = define(async ({ step }) => {
      await step.run('a', () => 1);
      return step.patched('faster');
    });
    expect(valueOf(await activate({ run: memory, definition, startTimer: impatient }))).toBe(true);
  });

  test.each([[[]], [[1, 1]]])(
    'gets one answer for good, in a loop and in branches, crashes: %j',
    async (crashes) => {
      const loop = async (step: StepTools, ask: (own: StepTools) => Promise<boolean>) => {
        const answers = [];
        for (let n = 0; n < 4; n += 1) {
          await step.run('one', () => n);
          answers.push(await ask(step));
        }
        answers.push(...(await step.parallel('p', [ask, ask])));
        return answers;
      };
      const memory = newRun();
      const old = define(({ step }) => loop(step, async () => false));
      expect(await activate({ run: memory, definition: old, crashAfter: 2 })).toBe('crashed');
      const definition = define(({ step }) => loop(step, (own) => own.patched('faster')));
      expect(valueOf(await drive({ run: memory, definition, crashes }))).toEqual(Array(6).fill(false));
      expect(memory.records.filter(({ id }) => id === 'patched(faster)')).toHaveLength(1);
    },
  );
});

describe('the marker', () => {
  test('is asked for again by a run that died before it was recorded, and the answer is the same', async () => {
    const memory = newRun();
    const answers: boolean[] = [];
    const definition = define(async ({ step }) => {
      await step.run('a', () => 1);
      answers.push(await step.patched('faster'));
      await step.run('b', () => 1);
    });
    const submitted: StepRecord[][] = [];
    const activation = startActivation({
      platform: asksNothing,
      definition,
      invocation: invocationOf(memory, undefined),
      recorder: { record: (records) => (submitted.push(records), new Promise<void>(() => {})) },
      now: () => 0,
      random: () => 0.5,
      startTimer: standingStill,
      log: () => {},
    });
    while (submitted.length === 0) await turn();
    activation.abort(new Error('the process died'));
    await drive({ run: memory, definition });
    expect(answers).toEqual([true, true]);
  });

  test('is waited for by nobody once its call is deleted', async () => {
    const memory = newRun();
    await activate({ run: memory, definition: after });
    const settledIn = define(async ({ step }) => {
      const a = await step.run('a', () => 1);
      const b = await step.run('b, faster', () => 1);
      await step.sleep('rest', '1h');
      return [a, b];
    });
    expect(valueOf(await drive({ run: memory, definition: settledIn }))).toEqual(['a again', 'faster']);
    expect(memory.lines).toEqual([]);
  });

  test('takes one of the steps that a run may have, on a replay too', async () => {
    for (const mode of modes) {
      const definition = define(async ({ step }) => {
        await step.patched('faster');
        await step.sleep('rest', '1h');
        await step.map('rest', Array.from({ length: limits.stepsPerRunMax - 1 }), () => 1);
      });
      expect(await drive({ run: newRun(), definition, mode })).toMatchObject({
        error: { message: expect.stringContaining('998 are left for 999 items') },
      });
    }
    const endless = define(async ({ step }) => {
      for (let n = 0; ; n += 1) await step.patched(`${n}`);
    });
    expect(await activate({ run: newRun(), definition: endless })).toMatchObject({
      error: { message: 'a run has at most 1000 steps' },
    });
  });

  test('has a name that no step may have, and an id of its own', async () => {
    const refusalOf = async (begin: (step: StepTools) => unknown) => {
      const outcome = await activate({ run: newRun(), definition: define(({ step }) => begin(step)) });
      return outcome === 'crashed' || outcome.kind !== 'threw' ? outcome : outcome.error.message;
    };
    expect(await refusalOf((step) => step.run('patched(faster)', () => 1))).toContain(
      'those of step.patched',
    );
    expect(await refusalOf((step) => step.run('patched', () => 1))).toMatchObject({ kind: 'completed' });
    for (const id of ['', undefined, 7]) {
      expect(await refusalOf((step) => step.patched(id as string))).toBe('step.patched needs an id');
    }
    expect(await refusalOf((step) => step.patched('x'.repeat(248)))).toContain('at most 256 bytes');
    expect(await refusalOf((step) => step.run('outer', () => step.patched('x')))).toContain(
      'step "patched(x)" is called inside step "outer"',
    );
  });
});

type Program =
  { kind: 'run' | 'sleep' | 'patch'; turns: number } | { kind: 'sequence' | 'all'; parts: Program[] };

const program = fc.letrec<{ node: Program }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc.record({
      kind: fc.constantFrom('patch' as const, 'run' as const, 'sleep' as const),
      turns: fc.constantFrom(0, 1, 3, 12),
    }),
    fc.record({
      kind: fc.constantFrom('sequence' as const, 'all' as const),
      parts: fc.array(tie('node'), { minLength: 1, maxLength: 4 }),
    }),
  ),
})).node;

/** A handler of the code before, or of the code after: then each patch asks, and does something else when told to. */
async function interpret(node: Program, step: StepTools, ask: (id: string) => Promise<boolean>, path = '0') {
  const run = (name: string, turns: number) =>
    step.run(name, async () => {
      for (let count = 0; count < turns; count += 1) await turn();
    });
  switch (node.kind) {
    case 'run':
      return run(`run ${path}`, node.turns);
    case 'sleep':
      return step.sleep(`sleep ${path}`, '1h');
    case 'patch':
      return run(`${(await ask(path)) ? 'new' : 'old'} ${path}`, node.turns);
    case 'sequence':
      for (const [index, part] of node.parts.entries()) await interpret(part, step, ask, `${path}.${index}`);
      return;
    case 'all':
      await Promise.all(node.parts.map((part, index) => interpret(part, step, ask, `${path}.${index}`)));
  }
}

describe('a run of any shape, crashed anywhere, whose code changes on the way', () => {
  test.each(modes)('gets answers that fit what is recorded, and that stay (%s)', async (mode) => {
    await fc.assert(
      fc.asyncProperty(
        program,
        fc.nat(4),
        fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }),
        fc.array(fc.nat(50), { minLength: 1, maxLength: 10 }),
        async (node, deployedAfter, crashes, choices) => {
          const memory = newRun();
          let activations = 0;
          let choice = 0;
          const definition = define(({ step }) => {
            const isDeployed = activations++ >= deployedAfter;
            return interpret(node, step, async (id) => {
              if (!isDeployed) return false;
              const recorded = memory.steps.get(`patched(${id})`)?.output;
              const answer = await step.patched(id);
              if (deployedAfter === 0 && !answer) memory.violations.push(`${id} is false`);
              if (recorded !== undefined && recorded !== String(answer))
                memory.violations.push(`${id} changes`);
              return answer;
            });
          });
          const outcome = await drive({
            run: memory,
            definition,
            mode,
            crashes: mode === 'pull' ? crashes : [],
            choose: (count) => choices[choice++ % choices.length]! % Math.max(1, count),
          });
          expect(outcome.kind).toBe('completed');
          expect(memory.violations).toEqual([]);
          // A step that is recorded but not called any more would be reported here.
          expect(memory.lines).toEqual([]);
        },
      ),
      { numRuns: 300 },
    );
  });
});
