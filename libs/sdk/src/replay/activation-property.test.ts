/** Functions of any shape against the replay core: crashes after any record, both ways of recording. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { NonRetryableError } from '../function-errors.js';
import type { StepError } from '../function-errors.js';
import type { HandlerContext, IronflowFunction } from '../function.js';
import type { MapContext, StepTools } from '../step-tools.js';
import { define, drive, newRun, turn } from '../testing/memory-run.js';
import type { MemoryRun } from '../testing/memory-run.js';
import { Occurrences } from './occurrences.js';

type Program =
  | { kind: 'run'; name: string; turns: number; failures: number; fatal: boolean }
  | { kind: 'sleep'; name: string }
  /** Work of the handler's own comes before it. */
  | { kind: 'busy'; turns: number; part: Program }
  | { kind: 'sequence' | 'all' | 'settled' | 'race'; parts: Program[]; name?: string }
  | { kind: 'parallel'; name: string; parts: Program[]; concurrency: number }
  | { kind: 'map'; name: string; items: number[]; concurrency: number };

const names = fc.constantFrom('a', 'b', 'c', 'a:1');
const anyProgram = fc.letrec<{ node: Program }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc.record({
      kind: fc.constant('run' as const),
      name: names,
      // Some outlast any work of the handler's own.
      turns: fc.constantFrom(0, 1, 2, 3, 12),
      failures: fc.nat(2),
      fatal: fc.boolean(),
    }),
    fc.record({ kind: fc.constant('sleep' as const), name: names.map((name) => `sleep-${name}`) }),
    fc.record({
      kind: fc.constant('busy' as const),
      turns: fc.integer({ min: 1, max: 8 }),
      part: tie('node'),
    }),
    fc.record({
      kind: fc.constantFrom('sequence' as const, 'all' as const, 'settled' as const, 'race' as const),
      parts: fc.array(tie('node'), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({
      kind: fc.constant('parallel' as const),
      name: names,
      parts: fc.array(tie('node'), { minLength: 1, maxLength: 3 }),
      concurrency: fc.integer({ min: 1, max: 3 }),
    }),
    fc.record({
      kind: fc.constant('map' as const),
      name: names,
      // How many turns each item takes.
      items: fc.array(fc.constantFrom(0, 1, 3, 12), { minLength: 1, maxLength: 4 }),
      concurrency: fc.integer({ min: 1, max: 3 }),
    }),
  ),
})).node;
/** Which of two steps of one name is called first must not depend on how long work of the handler's own takes. */
const program = anyProgram.map((node) =>
  JSON.stringify(node).includes('"busy"') ? nameApart(node, String) : node,
);

function nameApart(node: Program, suffix: (place: number) => string, place = 0): Program {
  const name = `${'name' in node ? node.name : ''}-${suffix(place)}`;
  const below = (inner: number) => `${suffix(place)}.${inner}`;
  if (node.kind === 'busy') return { ...node, part: nameApart(node.part, below) };
  // Its branches need no names of their own: they all get the same.
  if (node.kind === 'parallel') {
    return { ...node, name, parts: node.parts.map((part) => nameApart(part, String)) };
  }
  if (!('parts' in node)) return { ...node, name };
  return { ...node, name, parts: node.parts.map((part, index) => nameApart(part, below, index)) };
}

interface Watch {
  /** The handler saw a step settle. */
  saw(id: string, what: string): void;
  begins(id: string, attempt: number): void;
  /** What a step has to be called by. */
  names(id: string): string;
}

interface Scope {
  step: StepTools;
  prefix: string;
}

/** A handler whose next steps depend on who wins its races. */
function interpret(node: Program, { step }: HandlerContext<unknown>, watch: Watch): Promise<unknown> {
  const occurrences = new Occurrences();
  const scopes = new Occurrences();
  const watched = (id: string, settling: Promise<unknown>) =>
    settling.then(
      (value) => (watch.saw(id, `${id}=${String(value)}`), value),
      (error: StepError) => (watch.saw(id, `${error.stepId}!${error.message} ${error.stack}`), error.message),
    );
  const runStep = (part: Extract<Program, { kind: 'run' }>, scope: Scope) => {
    const id = watch.names(occurrences.next(scope.prefix + part.name));
    const work = async ({ attempt }: { attempt: number }) => {
      watch.begins(id, attempt);
      for (let turns = 0; turns < part.turns; turns += 1) await turn();
      if (attempt > part.failures) return id;
      throw part.fatal ? new NonRetryableError('for good') : new Error('once more');
    };
    return watched(id, scope.step.run(part.name, work));
  };
  const runMap = (part: Extract<Program, { kind: 'map' }>, scope: Scope) => {
    const name = scopes.next(scope.prefix + part.name);
    for (const index of part.items.keys()) watch.names(`${name}[${index}]`);
    const work = async (turns: number, { index, attempt }: MapContext) => {
      watch.begins(`${name}[${index}]`, attempt);
      for (let count = 0; count < turns; count += 1) await turn();
      if (attempt <= index % 3) throw new Error('once more');
      return index;
    };
    const settling = scope.step.map(part.name, part.items, work, {
      mode: 'allSettled',
      concurrency: part.concurrency,
      retries: 2,
    });
    return settling.then((results) => JSON.stringify(results));
  };
  const runParallel = (part: Extract<Program, { kind: 'parallel' }>, scope: Scope) => {
    const name = scopes.next(scope.prefix + part.name);
    const branches = part.parts.map(
      (inner, index) => (own: StepTools) => go(inner, { step: own, prefix: `${name}[${index}].` }),
    );
    return scope.step.parallel(part.name, branches, { concurrency: part.concurrency });
  };
  const go = async (part: Program, scope: Scope): Promise<unknown> => {
    switch (part.kind) {
      case 'run':
        return runStep(part, scope);
      case 'sleep': {
        const id = watch.names(occurrences.next(scope.prefix + part.name));
        return scope.step.sleep(part.name, '1h').then(() => watch.saw(id, id));
      }
      case 'busy':
        for (let turns = 0; turns < part.turns; turns += 1) await turn();
        return go(part.part, scope);
      case 'sequence': {
        const values: unknown[] = [];
        for (const inner of part.parts) values.push(await go(inner, scope));
        return values;
      }
      case 'all':
        return Promise.all(part.parts.map((inner) => go(inner, scope)));
      case 'settled':
        return Promise.allSettled(part.parts.map((inner) => go(inner, scope)));
      case 'map':
        return runMap(part, scope);
      case 'parallel':
        return runParallel(part, scope);
      case 'race': {
        const settling = part.parts.map((inner, index) => go(inner, scope).then(() => index));
        const winner = await Promise.race(settling);
        const name = `after-${winner}${part.name ?? ''}`;
        return [winner, await runStep({ kind: 'run', name, turns: 1, failures: 0, fatal: false }, scope)];
      }
    }
  };
  return go(node, { step, prefix: '' });
}

/** The loser of a race may be busy still when a replay's handler returns: then its recorded step is reported as left over. */
const losesBusily = (node: Program): boolean =>
  JSON.stringify(node).includes('"busy"') && JSON.stringify(node).includes('"race"');

/** A function that checks itself: each activation sees what was recorded of what the one before saw, and begins nothing that is. */
function defineWatched(node: Program, memory: MemoryRun): IronflowFunction {
  let seen: { id: string; what: string }[] = [];
  const named = new Set<string>();
  return define((context) => {
    const lost = seen.findIndex(({ id }) => !isSettled(memory, id));
    const before = lost === -1 ? seen : seen.slice(0, lost);
    seen = [];
    for (const id of memory.steps.keys()) {
      if (!named.has(id)) memory.violations.push(`${id} is not its name`);
    }
    return interpret(node, context, {
      names: (id) => (named.add(id), id),
      saw(id, what) {
        const expected = before[seen.length]?.what ?? what;
        if (expected !== what) memory.violations.push(`saw ${what} in place of ${expected}`);
        seen.push({ id, what });
      },
      begins(id, attempt) {
        const recorded = memory.steps.get(id);
        if (recorded !== undefined && (recorded.status !== 'errored' || recorded.attempt >= attempt)) {
          memory.violations.push(`${id} attempt ${attempt} begins although ${recorded.status}`);
        }
      },
    });
  });
}

const isSettled = (memory: MemoryRun, id: string): boolean =>
  ['completed', 'failed'].includes(memory.steps.get(id)?.status ?? '');

describe('a run of any shape, crashed after any of its records', () => {
  for (const mode of ['pull', 'push'] as const) {
    test(`sees the same turns again and never begins a recorded step again (${mode})`, async () => {
      await fc.assert(
        fc.asyncProperty(
          program,
          fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }),
          fc.array(fc.nat(50), { minLength: 1, maxLength: 10 }),
          async (node, crashes, choices) => {
            const memory = newRun();
            let choice = 0;
            const outcome = await drive({
              run: memory,
              definition: defineWatched(node, memory),
              mode,
              crashes: mode === 'pull' ? crashes : [],
              choose: (count) => choices[choice++ % choices.length]! % Math.max(1, count),
            });
            expect(outcome.kind).toBe('completed');
            expect(memory.violations).toEqual([]);
            if (!losesBusily(node)) expect(memory.lines).toEqual([]);
          },
        ),
        { numRuns: 300 },
      );
    });
  }

  test('without races comes to the same result as an undisturbed one', async () => {
    await fc.assert(
      fc.asyncProperty(
        program.filter(
          (node) => !JSON.stringify(node).includes('"race"') && !/all|settled/.test(JSON.stringify(node)),
        ),
        fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }),
        async (node, crashes) => {
          const crashed = newRun();
          const smooth = newRun();
          const pushed = newRun();
          const expected = await drive({ run: smooth, definition: defineWatched(node, smooth) });
          expect(await drive({ run: crashed, definition: defineWatched(node, crashed), crashes })).toEqual(
            expected,
          );
          expect(await drive({ run: pushed, definition: defineWatched(node, pushed), mode: 'push' })).toEqual(
            expected,
          );
        },
      ),
      { numRuns: 100 },
    );
  });
});
