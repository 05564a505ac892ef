/**
 * The order in which the platform decides, seen from outside of it: triggers of our own, in the database that we started, note what
 * each pass over a queue writes, under the id of its transaction.
 *
 * 1. A pass takes the lock of its environment, which goes with the transaction, and writes only then; a transaction is given its id
 *    with its first write. So ids grow in the order of the passes, and what a killed scheduler did not commit is not noted.
 * 2. Within a pass events are decided in the order of their times, and those of one time in that of their ids.
 * 3. A pass reads its time when it has the lock: not before its transaction began and the pass before it noted its last,
 *    and not after it noted its own first.
 */
import { createHash } from 'node:crypto';
import type { Database } from '@ironflow/database';
import type { RateDecision } from './flow-rates.js';
import type { ThrottlePass } from './flow-throttles.js';

/** Before anything is decided. */
export async function noteDecisions(database: Database): Promise<void> {
  await database.transaction(async (transaction) => {
    for (const text of notingStatements) await transaction.query({ name: '', text }, []);
  });
}

/** In the order in which they were made; what became of each is what its run says. */
export function readRateDecisions(database: Database, functionId: string): Promise<RateDecision[]> {
  return database.query<RateDecision>(
    {
      name: '',
      text: `select e.id as "eventId", e.data ->> 'key' as key,
          (extract(epoch from e.received_at) * 1000)::float8 as "receivedAtMs", r.skip_reason is null as "isLetIn"
        from flow_watch.notes n
        join events e on e.id = (n.was ->> 'event_id')::uuid
        join runs r on r.id = (n.was ->> 'run_id')::uuid
        where n.about = 'queue_entries' and n.was ->> 'state' = 'arrived' and n.was ->> 'function_id' = $1
        order by n.pass, e.received_at, e.id`,
    },
    [functionId],
  );
}

/** Of a function whose runs do nothing but begin. */
export async function readThrottlePasses(database: Database, functionId: string): Promise<ThrottlePass[]> {
  const notes = await database.query<Note>(
    {
      name: '',
      text: `select n.pass::float8 as pass, ${microsecondsOf('n.begun_at')} as "begunAtUs",
          ${microsecondsOf('n.noted_at')} as "notedAtUs", n.about, n.was ->> 'state' as was, n.became ->> 'state' as became,
          n.was ->> 'run_id' as "runId", n.was ->> 'event_id' as "eventId",
          ${microsecondsOf("(n.was ->> 'position')::timestamptz")} as "positionUs",
          coalesce(n.was -> 'keys' ->> 'throttle', n.became ->> 'throttle') as key,
          n.became ->> 'blocked_by' is not null as "isBlocked",
          ${microsecondsOf("(n.became ->> 'ready_at')::timestamptz")} as "readyAtUs",
          n.became ->> 'key_hash' as "keyHash", round((n.became ->> 'next_at_ms')::numeric * 1000)::float8 as "nextUs"
        from flow_watch.notes n
        where coalesce(n.was, n.became) ->> 'function_id' = $1
          and coalesce((n.was ->> 'resumed')::boolean, (n.became ->> 'resumed')::boolean, false) = false
        order by n.pass, n.id`,
    },
    [functionId],
  );
  const keysByHash = new Map(notes.flatMap(({ key }) => (key === null ? [] : [[hashOf(key), key]])));
  const passes: ThrottlePass[] = [];
  let lastNotedUs = -Infinity;
  for (let from = 0; from < notes.length;) {
    const ofPass = notesOfPass(notes, from);
    passes.push(passOf(ofPass, lastNotedUs, keysByHash));
    lastNotedUs = ofPass.at(-1)!.notedAtUs;
    from += ofPass.length;
  }
  return passes;
}

interface Note {
  pass: number;
  begunAtUs: number;
  notedAtUs: number;
  about: 'queue_entries' | 'queue_lanes' | 'flow_states';
  /** The states of an entry. */
  was: string | null;
  became: string | null;
  runId: string;
  eventId: string;
  positionUs: number;
  key: string | null;
  isBlocked: boolean;
  readyAtUs: number;
  keyHash: string | null;
  nextUs: number;
}

/** Those from there on that are of the same pass. */
function notesOfPass(notes: readonly Note[], from: number): Note[] {
  const { pass } = notes[from]!;
  let to = from;
  while (notes[to]?.pass === pass) to += 1;
  return notes.slice(from, to);
}

function passOf(
  notes: readonly Note[],
  lastNotedUs: number,
  keysByHash: ReadonlyMap<string, string>,
): ThrottlePass {
  const { begunAtUs, notedAtUs } = notes[0]!;
  const entries = notes.filter(({ about }) => about === 'queue_entries');
  return {
    fromUs: Math.max(begunAtUs, lastNotedUs),
    toUs: notedAtUs,
    arrived: entries
      .filter(({ was }) => was === 'arrived')
      .map(({ runId, eventId, key, positionUs }) => ({ runId, eventId, key: key!, positionUs })),
    admitted: new Set(entries.filter(({ became }) => became === 'admitted').map(({ runId }) => runId)),
    lanes: notes
      .filter(({ about }) => about === 'queue_lanes')
      .map(({ key, isBlocked, readyAtUs }) => ({ key: key!, isBlocked, readyAtUs })),
    nextUs: new Map(
      notes
        .filter(({ about }) => about === 'flow_states')
        .map(({ keyHash, nextUs }) => [keysByHash.get(keyHash!)!, nextUs]),
    ),
  };
}

/** As the scheduler calls a key where it remembers it. */
function hashOf(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 32);
}

function microsecondsOf(time: string): string {
  return `(extract(epoch from ${time}) * 1000000)::float8`;
}

const isWaiting = `old.state in ('arrived', 'held', 'queued')`;
// It writes as its owner: the services may not.
const notingStatements = [
  'create schema flow_watch',
  `create table flow_watch.notes (
    id bigint generated always as identity primary key,
    pass bigint not null default pg_current_xact_id()::text::bigint,
    begun_at timestamptz not null default now(),
    noted_at timestamptz not null default clock_timestamp(),
    about text not null,
    was jsonb,
    became jsonb
  )`,
  `create function flow_watch.note() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
  begin
    insert into flow_watch.notes (about, was, became) values (tg_table_name, to_jsonb(old), to_jsonb(new));
    return null;
  end $$`,
  `create trigger flow_watch_moved after update on queue_entries for each row
    when (${isWaiting} and new.state <> old.state) execute function flow_watch.note()`,
  `create trigger flow_watch_gone after delete on queue_entries for each row
    when (${isWaiting}) execute function flow_watch.note()`,
  `create trigger flow_watch_lane after insert or update on queue_lanes for each row execute function flow_watch.note()`,
  `create trigger flow_watch_state after insert or update on flow_states for each row execute function flow_watch.note()`,
];
