/** All of the load. */
import { modes, namesOf } from './case.js';
import type { AnyCase, EventData, Mode } from './case.js';
import { breakerCases } from './cases/breakers.js';
import { childCases } from './cases/children.js';
import { endingCases, matchingCases } from './cases/endings.js';
import { flowCases } from './cases/flow.js';
import { outputCases } from './cases/outputs.js';
import { sagaCases } from './cases/sagas.js';
import { topicCases } from './cases/topics.js';
import { waitCases } from './cases/waits.js';
import { webhookCases } from './cases/webhooks.js';
import { workCases } from './cases/work.js';
import { createKit } from './kit.js';
import { createRandom } from './random.js';

export const cases: readonly AnyCase[] = [
  ...workCases,
  ...waitCases,
  ...childCases,
  ...endingCases,
  ...matchingCases,
  ...sagaCases,
  ...topicCases,
  ...outputCases,
  ...flowCases,
  ...webhookCases,
  ...breakerCases,
];

/** Those that are started by failures of others. */
export const failureFunctions: ReadonlySet<string> = new Set(
  modes.flatMap((mode) =>
    functionsOf(mode, '').flatMap(({ onFailure }) => (onFailure === undefined ? [] : [onFailure.id])),
  ),
);

/** What a client emits as its n-th event. */
export interface Emission {
  n: number;
  atMs: number;
  kind: AnyCase;
  mode: Mode;
  data: EventData<unknown>;
}

const totalWeight = cases.reduce((sum, { weight }) => sum + weight, 0);

/** Pure: the same for the same seed. */
export function emissionAt(seed: number, n: number, perSecond: number): Emission {
  const random = createRandom(seed, 'emission', n);
  let place = random.next() * totalWeight;
  const kind = cases.find(({ weight }) => (place -= weight) < 0) ?? cases[0]!;
  return {
    n,
    atMs: (n * 1_000) / perSecond,
    kind,
    mode: random.pick(modes),
    data: { key: `event ${n}`, input: kind.draw(random) },
  };
}

export function functionsOf(mode: Mode, ledgerFile: string, build?: string) {
  const kit = createKit(mode, ledgerFile, build);
  return cases.flatMap((one) => one.functions(kit));
}

/** The case and mode of an event's name or of a function's id; none for what is sent beside. */
export function caseOfEvent(name: string): { kind: AnyCase; mode: Mode } | undefined {
  for (const mode of modes) {
    const kind = cases.find((one) => namesOf(mode).event(one.name) === name);
    if (kind !== undefined) return { kind, mode };
  }
  return undefined;
}

export function caseOfFunction(functionId: string): { kind: AnyCase; mode: Mode } | undefined {
  for (const mode of modes) {
    const kind = cases.find((one) => namesOf(mode).functionId(one.name) === functionId);
    if (kind !== undefined) return { kind, mode };
  }
  return undefined;
}
