/**
 * `step.map` and `step.parallel`, made of the tools for single steps. They add names and an order of beginning, nothing to
 * the record of a run.
 *
 * P1. A map or parallel takes its scope as it is called: its name, then `name:1`, `name:2`. What belongs to an item or a
 *     branch is named within the scope, so no timing decides which step gets which id.
 * P2. What is wrong with the call itself is refused before the first item or branch begins.
 */
import { limits } from '@ironflow/schema';
import { ConfigurationError } from '../configuration-error.js';
import type { Branch, MapContext, MapOptions, ParallelOptions, StepTools } from '../step-tools.js';
import { gather } from './gather.js';
import { Occurrences } from './occurrences.js';
import { checkName } from './step-name.js';

/** What needs no scope of its own. */
export type SingleTools = Omit<StepTools, 'map' | 'parallel'>;

interface RunLimits {
  /** How many steps the run may still have. */
  stepsLeft(): number;
}

export function withParallel(single: SingleTools, run: RunLimits): StepTools {
  const scopes = new Occurrences();
  const toolsWithin = (prefix: string): StepTools => ({
    ...(prefix === '' ? single : named(single, prefix)),
    map: ((name, items, work, options) =>
      unattended(async () => mapItems(prefix + checked(name), items, work, options))) as StepTools['map'],
    parallel: ((name: unknown, branches: Branches, options?: ParallelOptions) =>
      unattended(async () =>
        runBranches(prefix + checked(name), branches, options),
      )) as StepTools['parallel'],
  });

  const mapItems = (name: string, items: unknown, work: unknown, options: MapOptions = {}) => {
    const what = `step.map "${name}"`;
    if (!Array.isArray(items)) throw new ConfigurationError(`${what}: its second argument must be an array`);
    if (typeof work !== 'function') {
      throw new ConfigurationError(`${what}: its third argument must be a function`);
    }
    const { retries, timeout, ...parallel } = options;
    const order = readOrder(what, { count: items.length, called: 'items' }, parallel);
    if (items.length > run.stepsLeft()) {
      const message = `a run has at most ${limits.stepsPerRunMax} steps (stepsPerRunMax)`;
      throw new ConfigurationError(
        `${what}: ${message}, and ${run.stepsLeft()} are left for ${items.length} items`,
      );
    }
    // What the handler does to its array later must not change what belongs to which step.
    const kept = [...(items as unknown[])];
    const scope = scopes.next(name);
    // The last item has the longest name.
    checkName(`${scope}[${Math.max(0, kept.length - 1)}]`);
    const own = {
      ...(retries === undefined ? {} : { retries }),
      ...(timeout === undefined ? {} : { timeout }),
    };
    const begin = (index: number) =>
      // The context is made for this attempt alone; a copy of it would make its signal, which most never ask for.
      single.run(
        `${scope}[${index}]`,
        (context) => (work as ItemWork)(kept[index], Object.assign(context, { index })),
        own,
      );
    return gather({ ...order, begin });
  };

  const runBranches = async (name: string, branches: unknown, options: ParallelOptions = {}) => {
    const what = `step.parallel "${name}"`;
    const { list, keys } = readBranches(what, branches);
    const order = readOrder(what, { count: list.length, called: 'branches' }, options);
    const scope = scopes.next(name);
    const begin = async (index: number) =>
      list[index]!(toolsWithin(keys === undefined ? `${scope}[${index}].` : `${scope}.${keys[index]}.`));
    const results = await gather({ ...order, begin });
    return keys === undefined ? results : Object.fromEntries(keys.map((key, index) => [key, results[index]]));
  };

  return toolsWithin('');
}

type ItemWork = (item: unknown, context: MapContext) => unknown;
type Branches = readonly Branch[] | Readonly<Record<string, Branch>>;

/** The tools of a branch: each name has the prefix of the branch. */
function named(single: SingleTools, prefix: string): SingleTools {
  const within = (name: string) => prefix + checked(name);
  return {
    run: (name, work, options) => unattended(async () => single.run(within(name), work, options)),
    sendEvent: (name, events) => unattended(async () => single.sendEvent(within(name), events)),
    publish: (topic, data, options) =>
      unattended(async () => single.publish(topic, data, { name: within(options?.name ?? topic) })),
    waitForEvent: (name, options) => unattended(async () => single.waitForEvent(within(name), options)),
    // Whoever sends it knows nothing of branches.
    waitForSignal: (name, options) =>
      unattended(async () =>
        single.waitForSignal(within(name), { ...options, signal: options?.signal ?? name }),
      ),
    approve: (name, options) => unattended(async () => single.approve(within(name), options)),
    invoke: (name, options) => unattended(async () => single.invoke(within(name), options)),
    invokeAsync: (name, options) => unattended(async () => single.invokeAsync(within(name), options)),
    sleep: (name, duration) => unattended(async () => single.sleep(within(name), duration)),
    sleepUntil: (name, time) => unattended(async () => single.sleepUntil(within(name), time)),
    compensate: (name, undo, options) =>
      unattended(async () => single.compensate(within(name), undo, options)),
    // An answer is the run's, whoever asks first.
    patched: (id) => single.patched(id),
  };
}

/** Of a branch's own part of a name: with its prefix, one without a name would have one. */
function checked(name: unknown): string {
  checkName(name);
  return name;
}

/** Begins at once; one that nobody awaits must not end the process when it fails. */
function unattended<T>(begin: () => Promise<T>): Promise<T> {
  const promise = begin();
  promise.catch(() => {});
  return promise;
}

function readOrder(what: string, pieces: { count: number; called: string }, options: ParallelOptions) {
  const { concurrency = limits.parallelMax, mode = 'failFast' } = options;
  const { count, called } = pieces;
  if (count > limits.parallelMax) {
    throw new ConfigurationError(
      `${what}: ${count} ${called} are above the limit of ${limits.parallelMax} (parallelMax)`,
    );
  }
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    throw new ConfigurationError(
      `${what}: concurrency: must be a whole number from 1, not ${String(concurrency)}`,
      'concurrency',
    );
  }
  if (mode !== 'failFast' && mode !== 'allSettled') {
    throw new ConfigurationError(`${what}: mode: must be "failFast" or "allSettled"`, 'mode');
  }
  return { count, concurrency, mode };
}

function readBranches(
  what: string,
  branches: unknown,
): { list: readonly Branch[]; keys: string[] | undefined } {
  if (typeof branches !== 'object' || branches === null) {
    throw new ConfigurationError(`${what}: its second argument must be an array or an object of functions`);
  }
  const keys = Array.isArray(branches) ? undefined : Object.keys(branches);
  // What is not there in an array is no function; Object.values would pass over it.
  const list: readonly Branch[] = Array.isArray(branches)
    ? [...(branches as Branch[])]
    : (Object.values(branches) as Branch[]);
  const wrong = list.findIndex((branch) => typeof branch !== 'function');
  if (wrong !== -1) {
    throw new ConfigurationError(
      `${what}: branch ${keys === undefined ? wrong : `"${keys[wrong]}"`} is no function`,
    );
  }
  // With a dot in it, `a` and `a.b` could have steps of one name.
  const unclear = keys?.find((key) => key === '' || key.includes('.'));
  if (unclear !== undefined) {
    throw new ConfigurationError(`${what}: "${unclear}" cannot name a branch: it needs a name without a dot`);
  }
  return { list, keys };
}
