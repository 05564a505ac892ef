/** What must be gone once nothing happens any more: looked for in Postgres and in the streams. */
import type { Database } from '@ironflow/database';
import type { JetStream } from '@ironflow/jetstream';
import { circuitStateSchema } from '@ironflow/schema';
import type { CircuitState, StreamName } from '@ironflow/schema';
import { fragileFunction } from './cases/breakers.js';
import type { Leftover } from './facts.js';

interface Looked {
  what: string;
  ids: string;
  from: string;
}

const rows: Looked[] = [
  { what: 'runs that have not ended', ids: 'id', from: 'runs where ended_at is null' },
  { what: 'events not routed', ids: 'event_id', from: 'unrouted_events' },
  { what: 'timers', ids: 'run_id', from: 'timers' },
  { what: 'waits', ids: 'run_id', from: 'waits' },
  { what: 'signals', ids: 'run_id', from: 'signals' },
  {
    what: 'claimed outputs of no run that has ended',
    ids: 'run_id',
    from: ofNoEndedRun('claimed_outputs'),
  },
  { what: 'approval links of no run that has ended', ids: 'run_id', from: ofNoEndedRun('approval_links') },
  { what: 'slots', ids: 'run_id', from: 'slots' },
  { what: 'runs in the queue', ids: 'run_id', from: 'queue_entries' },
  { what: 'lanes', ids: 'lane', from: 'queue_lanes' },
  { what: 'events with a time', ids: 'id', from: 'scheduled_events' },
  { what: 'events that are still looked at for waits', ids: 'event_id', from: 'awaited_events' },
  { what: 'functions that are paused', ids: 'id', from: 'functions where paused_at is not null' },
  { what: 'environments that are paused', ids: 'id', from: 'environments where paused_at is not null' },
  { what: 'breakers that are forced open', ids: 'function_id', from: 'forced_breakers' },
];

/** Those of runs that have ended go with the scheduler's upkeep, every hour. */
function ofNoEndedRun(table: string): string {
  return `${table} where not exists (select from runs where id = run_id and ended_at is not null)`;
}

/** Streams whose messages go as they are dealt with. */
const emptied: StreamName[] = ['INGEST', 'STEPS'];
/** More than there are functions. */
const breakersMax = 1_000;

export async function findLeftovers(database: Database, jetstream: JetStream): Promise<Leftover[]> {
  const leftovers: Leftover[] = [];
  for (const { what, ids, from } of rows) {
    const [row] = await database.query<{ count: number; examples: string[] | null }>(
      {
        name: `chaos_left_${what.replaceAll(' ', '_')}`,
        text: `select count(*)::int as count, (array_agg(${ids}::text))[1:5] as examples from ${from}`,
      },
      [],
    );
    if (row!.count > 0) leftovers.push({ what, count: row!.count, examples: row!.examples ?? [] });
  }
  for (const name of emptied) {
    const { messages } = await jetstream.states.stream(name);
    if (messages > 0) leftovers.push({ what: `messages in ${name}`, count: messages, examples: [] });
  }
  for (const stream of ['EVENTS', 'RESULTS', 'STEPS', 'INGEST'] as const) {
    for (const { name, pending } of await readConsumers(jetstream, stream)) {
      if (pending > 0) leftovers.push({ what: `messages pending for ${name}`, count: pending, examples: [] });
    }
  }
  // Others close with their next call; runs of this one have been called again and again until it worked.
  const isOpen = (await readBreakers(jetstream)).some(
    ({ functionId, state }) => functionId === fragileFunction.id && state !== 'closed',
  );
  if (isOpen) leftovers.push({ what: 'breaker that is open', count: 1, examples: [fragileFunction.id] });
  return leftovers;
}

async function readBreakers(jetstream: JetStream): Promise<CircuitState[]> {
  const entries = await jetstream.bucket('SYS_circuit_breakers').entries('>', breakersMax);
  return entries.map(({ value }) => circuitStateSchema.parse(JSON.parse(value)));
}

async function readConsumers({ connection }: JetStream, stream: StreamName) {
  const reply = await connection.request({ subject: `$JS.API.CONSUMER.LIST.${stream}`, data: '' });
  if (reply.kind !== 'message') throw new Error(`${stream} cannot be read: ${reply.kind}`);
  const { consumers = [] } = JSON.parse(Buffer.from(reply.data).toString('utf8')) as {
    consumers?: { name: string; num_pending: number; num_ack_pending: number }[];
  };
  return consumers.map(({ name, num_pending, num_ack_pending }) => ({
    name,
    pending: num_pending + num_ack_pending,
  }));
}
