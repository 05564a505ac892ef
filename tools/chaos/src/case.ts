/**
 * One kind of load: the function that runs, what a client does beside it, and what must have become of it. A new primitive
 * joins the load as one more entry of `cases/`.
 */
import type { IronflowFunction } from '@ironflow/sdk';
import type { Kit } from './kit.js';
import type { Random } from './random.js';

export const modes = ['push', 'pull'] as const;
/** Each case runs in both: its functions are made for either app, under names of their own. */
export type Mode = (typeof modes)[number];

/** The names of a case's functions and events in one mode. */
export interface Names {
  functionId: (name: string) => string;
  /** `chaos.<mode>.<name>`. */
  event: (name: string) => string;
}

/** What the event that starts a run carries. */
export interface EventData<Input> {
  /** Of this event alone: two events of one key are one that was stored twice. */
  key: string;
  input: Input;
}

/** What a client does once the event has been taken; one after the other, each until it is answered. */
export type Action = { afterMs: number } & (
  | { kind: 'event'; name: string; input: unknown }
  | { kind: 'signal'; functionId: string; signal: string; data: unknown }
  | { kind: 'cancel'; functionId: string }
  | Decision
  | { kind: 'rerun'; functionId: string; fromStep?: string }
  /** The same request once more, under its key. */
  | { kind: 'again' }
);

/** What a run's `step.approve` waits for. */
export interface Decision {
  kind: 'decide';
  functionId: string;
  approval: string;
  by: 'link' | 'key';
  approved: boolean;
  comment: string;
  /** It comes second, and must not be taken. */
  isLate?: true;
}

export interface ExpectedRun {
  functionId: string;
  status: 'completed' | 'failed' | 'cancelled' | 'skipped';
  /** Of a completed run, compared as JSON; absent: whatever it is. */
  output?: unknown;
  skipReason?: string;
  /** What else it may have become: other events have a say. */
  or?: readonly Pick<ExpectedRun, 'status' | 'skipReason'>[];
}

export interface Case<Input> {
  /** Of its event and of the function that is most often its only one. */
  name: string;
  /** How often it is drawn among the others; 0: only other cases start it. */
  weight: number;
  /** Its runs do nothing but work: how long they take tells of the platform, so recovery is measured by them. */
  isProbe?: true;
  draw(random: Random): Input;
  /** Its event is emitted with a time, so long after it is sent first. */
  laterMs?: (input: Input) => number;
  /** Its event comes as a webhook of a provider. */
  isDelivered?: true;
  functions(kit: Kit): IronflowFunction[];
  actions?(input: Input, names: Names): Action[];
  /** How many events each of its runs sends or invokes functions by: their keys begin with the id of the run and a space. */
  sends?: number | ((input: Input) => number);
  /** How many messages each of its runs publishes: their keys are the id of the run and a number from 0. */
  publishes?: (input: Input) => number;
  /** Every run that its event has to have, and no other. */
  expect(input: Input, names: Names): ExpectedRun[];
}

/** A case among others: what it draws is its own affair. */
export type AnyCase = Case<unknown>;

export function defineCase<Input>(definition: Case<Input>): AnyCase {
  return definition as unknown as AnyCase;
}

export function namesOf(mode: Mode): Names {
  return {
    functionId: (name) => `${name}-${mode}`,
    event: (name) => `chaos.${mode}.${name}`,
  };
}
