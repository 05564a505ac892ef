/**
 * Keeping what could not be processed, for the collector, the scheduler and, within its own environment, ingest. A letter
 * is stored once: its id is its maker's.
 */
import type { DeadLetter } from '@ironflow/schema';
import type { Queryable, Statement } from './database.js';

export async function storeDeadLetters(on: Queryable, letters: readonly DeadLetter[]): Promise<void> {
  if (letters.length === 0) return;
  const column = <T>(pick: (letter: DeadLetter) => T): T[] => letters.map(pick);
  await on.query(storeStatement, [
    column((letter) => letter.id),
    column((letter) => letter.environmentId ?? null),
    column((letter) => letter.subject),
    column((letter) => letter.reason),
    column((letter) => letter.detail),
    column((letter) => letter.payload),
    column((letter) => letter.occurredAtMs),
  ]);
}

const storeStatement: Statement = {
  name: 'store_dead_letters',
  text: `insert into dead_letters (id, environment_id, subject, reason, detail, payload, occurred_at)
    select id, environment_id, subject, reason, detail, decode(payload, 'base64'),
      to_timestamp(occurred_at_ms / 1000)
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::float8[])
      as l (id, environment_id, subject, reason, detail, payload, occurred_at_ms)
    on conflict do nothing`,
};
