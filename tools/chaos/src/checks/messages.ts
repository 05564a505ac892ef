/** What runs publish is told once, and in the order of its ids. Pure. */
import type { EventData } from '../case.js';
import { caseOfFunction } from '../cases.js';
import type { Facts, Violation } from '../facts.js';
import { groupBy } from './group-by.js';

/** Of runs that are younger than the last wipe, which takes messages and what remembers their keys. */
export function checkPublished({ messages, runs, events, wipedUntilMs }: Facts): Violation[] {
  const told = groupBy(messages, ({ key }) => key);
  const byId = new Map(events.map((event) => [event.id, event]));
  return runs.flatMap(({ id, functionId, eventId, status, createdAtMs }) => {
    const publishes = caseOfFunction(functionId)?.kind.publishes;
    if (publishes === undefined || status !== 'completed' || createdAtMs <= wipedUntilMs) return [];
    const { input } = byId.get(eventId)!.data as EventData<unknown>;
    return Array.from({ length: publishes(input) }, (_, index) => `${id} ${index}`).flatMap((key) => {
      const ids = (told.get(key) ?? []).map((message) => message.id);
      if (ids.length === 1) return [];
      const rule = 'what a run published was not told once';
      return [
        { rule, evidence: `${functionId} run and number ${key}: ${ids.length} times ${ids.join(', ')}` },
      ];
    });
  });
}

export function checkToldInOrder({ messages }: Facts): Violation[] {
  return messages.slice(1).flatMap(({ id, key }, index) => {
    const before = messages[index]!;
    if (BigInt(before.id) < BigInt(id)) return [];
    return [{ rule: 'a message was told out of its order', evidence: `${key}: ${id} after ${before.id}` }];
  });
}
