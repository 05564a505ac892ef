/**
 * Which functions of a registry an event's name concerns. A registry is immutable and replaced when it changes, so what
 * was worked out for one is kept as long as it is.
 */
import { isCronTrigger, matchesEventPattern, reservedEventPrefix, systemEventNames } from '@ironflow/schema';
import type {
  CancelOn,
  EventTrigger,
  RegisteredApp,
  RegisteredFunction,
  Registry,
  StoredEvent,
} from '@ironflow/schema';

/** A function whose triggers match an event's name. */
export interface Candidate {
  app: RegisteredApp;
  registered: RegisteredFunction;
  /** One per matching trigger; `undefined` is no condition. Tried in the order in which they were declared. */
  conditions: readonly (string | undefined)[];
}

/** Names are the tenants' to invent; past this many the table is begun anew. */
const namesMax = 1_000;

const indexes = new WeakMap<Registry, Map<string, readonly Candidate[]>>();

/** In the order of function ids, so that every scheduler routes an event alike. */
export function candidatesFor(registry: Registry, eventName: string): readonly Candidate[] {
  const byName = indexes.get(registry) ?? new Map<string, readonly Candidate[]>();
  indexes.set(registry, byName);
  const known = byName.get(eventName);
  if (known !== undefined) return known;
  if (byName.size >= namesMax) byName.clear();
  const candidates = findCandidates(registry, eventName);
  byName.set(eventName, candidates);
  return candidates;
}

/** A function that has its runs cancelled by events of a name. */
export interface Canceller {
  functionId: string;
  cancelOn: readonly CancelOn[];
}

const cancellerIndexes = new WeakMap<Registry, ReadonlyMap<string, readonly Canceller[]>>();

export function cancellersOf(registry: Registry, eventName: string): readonly Canceller[] {
  let byName = cancellerIndexes.get(registry);
  if (byName === undefined) {
    byName = findCancellers(registry);
    cancellerIndexes.set(registry, byName);
  }
  return byName.get(eventName) ?? [];
}

function findCancellers(registry: Registry): ReadonlyMap<string, readonly Canceller[]> {
  const byName = new Map<string, Canceller[]>();
  for (const [functionId, { config }] of registry.functions) {
    for (const event of new Set(config.cancelOn?.map((one) => one.event))) {
      const cancelOn = config.cancelOn!.filter((one) => one.event === event);
      byName.set(event, [...(byName.get(event) ?? []), { functionId, cancelOn }]);
    }
  }
  return byName;
}

/** The one that an event is for; nobody when it is not registered any more. */
export function addressee(registry: Registry, functionId: string): readonly Candidate[] {
  const registered = registry.functions.get(functionId);
  const app = registered && registry.apps.get(registered.appId);
  return app === undefined ? [] : [{ app, registered: registered!, conditions: [undefined] }];
}

/** The function that an event is for alone: it repeats a run, replays an event, or invokes the function. */
export function addressedFunction(event: Pick<StoredEvent, 'name' | 'functionId'>): string | undefined {
  if (event.functionId !== undefined) return event.functionId;
  const prefix = systemEventNames.invoke('');
  return event.name.startsWith(prefix) ? event.name.slice(prefix.length) : undefined;
}

function findCandidates(registry: Registry, eventName: string): Candidate[] {
  const candidates: Candidate[] = [];
  for (const [functionId, registered] of registry.functions) {
    const app = registry.apps.get(registered.appId);
    if (app === undefined) continue;
    const conditions = conditionsOf(functionId, registered, eventName);
    if (conditions.length > 0) candidates.push({ app, registered, conditions });
  }
  return candidates.sort((a, b) => (a.registered.config.id < b.registered.config.id ? -1 : 1));
}

function conditionsOf(functionId: string, registered: RegisteredFunction, eventName: string) {
  // No pattern of a tenant sees the platform's own events, not even `>`; but for failures they are addressed to one function.
  if (eventName === systemEventNames.functionFailed) {
    return registered.config.triggers
      .filter((trigger): trigger is EventTrigger => !isCronTrigger(trigger) && trigger.event === eventName)
      .map((trigger) => trigger.if);
  }
  if (eventName.startsWith(reservedEventPrefix)) {
    const isAddressed =
      eventName === systemEventNames.cron(functionId) || eventName === systemEventNames.invoke(functionId);
    return isAddressed ? [undefined] : [];
  }
  return registered.config.triggers
    .filter((trigger): trigger is EventTrigger => !isCronTrigger(trigger))
    .filter((trigger) => matchesEventPattern(trigger.event, eventName))
    .map((trigger) => trigger.if);
}
