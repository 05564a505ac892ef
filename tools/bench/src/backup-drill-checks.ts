/** What has to be true of a platform that was restored, and what is counted of it. */
import type { Platform } from '@ironflow/platform';
import { eventually } from '@ironflow/testing';
import { buckets, clientOf, topic, valueOf } from './backup-drill-load.js';
import type { DrillLoad } from './backup-drill-load.js';
import { openDatabase } from './program.js';
import type { Stage } from './program.js';

export interface Findings {
  ordersAccepted: number;
  /** Accepted after the backup of Postgres had begun, and not in it. */
  ordersLost: number;
  ordersCompleted: number;
  sleepersCompleted: number;
  /** Steps that began again on the restored platform. */
  stepsAgain: number;
  keysEqual: number;
  counterRestored: number;
  topicMessages: number;
  failures: string[];
}

export interface Restored {
  platform: Platform;
  load: DrillLoad;
  sleepSeconds: number;
}

export async function examineRestored(
  stage: Stage,
  { platform, load, sleepSeconds }: Restored,
): Promise<Findings> {
  const failures: string[] = [];
  const fail = (isFailed: boolean, what: string): void => void (isFailed && failures.push(what));
  const values = await examineValues(platform, load, fail);
  const before = new Map(load.begins);
  await load.work(platform);
  const safe = [...load.accepted.slice(0, load.moments.get('postgres begins')!.orders), ...load.sleepers];
  const database = openDatabase(stage, platform.servers.ownerUrl);
  const read = async (): Promise<RunRow[]> => database.query<RunRow>(runsStatement, []);
  const rows = await eventually(
    async () => {
      const found = await read();
      const orders = new Set(found.map(({ order }) => order));
      const hasEnded = found.every(({ status }) => status === 'completed');
      if (hasEnded && safe.every((order) => orders.has(order))) return found;
      throw new Error('runs have not completed');
    },
    { timeoutMs: sleepSeconds * 1_000 + 120_000, intervalMs: 1_000 },
  ).catch(read);
  const runs = new Map<string, RunRow[]>();
  for (const row of rows) runs.set(row.order, [...(runs.get(row.order) ?? []), row]);
  fail(
    rows.some(({ status }) => status !== 'completed'),
    'a run has not completed',
  );
  fail(
    [...runs.values()].some(({ length }) => length !== 1),
    'an order has more than one run',
  );
  const missing = safe.filter((order) => !runs.has(order));
  fail(missing.length > 0, `accepted before the backup, and not there: ${missing.slice(0, 5).join(', ')}`);
  // Their results were stored long before any backup.
  const repeated = load.sleepers.filter((order) => load.begins.get(`${order}/before`) !== 1);
  fail(repeated.length > 0, `began again after its result was stored: ${repeated.slice(0, 5).join(', ')}`);
  await examineNewWork(platform, load, fail);
  const again = [...load.begins].filter(
    ([step, count]) => (before.get(step) ?? 0) > 0 && count > before.get(step)!,
  );
  return {
    ordersAccepted: load.accepted.length,
    ordersLost: load.accepted.filter((order) => !runs.has(order)).length,
    ordersCompleted: load.accepted.filter((order) => runs.get(order)?.[0]?.status === 'completed').length,
    sleepersCompleted: load.sleepers.filter((order) => runs.get(order)?.[0]?.status === 'completed').length,
    stepsAgain: again.length,
    ...values,
    failures,
  };
}

interface RunRow {
  order: string;
  status: string;
}

const runsStatement = {
  name: 'drill_runs',
  text: `select e.data::jsonb ->> 'order' as "order", r.status from runs r join events e on e.id = r.event_id
    where e.name in ('order.placed', 'order.paused')`,
};

type Fail = (isFailed: boolean, what: string) => void;

/** Before anything runs: what the backup had, whatever the moment within it. */
async function examineValues(
  platform: Platform,
  load: DrillLoad,
  fail: Fail,
): Promise<Pick<Findings, 'keysEqual' | 'counterRestored' | 'topicMessages'>> {
  const client = clientOf(platform);
  const [begun, ended] = [load.moments.get('nats begins')!, load.moments.get('nats ends')!];
  let keysEqual = 0;
  for (const bucket of Object.values(buckets)) {
    for (const key of load.staticKeys) {
      const entry = await client.kv(bucket).get(key);
      if (JSON.stringify(entry?.value) === JSON.stringify(valueOf(key))) keysEqual += 1;
    }
  }
  fail(keysEqual !== 2 * load.staticKeys.length, 'a value of a bucket is missing or another');
  for (const order of begun.reserved) {
    fail((await client.kv(buckets.stock).get(order)) === undefined, `what ${order} had set is missing`);
  }
  const counter = (await client.kv(buckets.stock).get('counter'))?.value as number | undefined;
  const isWithin = counter !== undefined && counter >= begun.counter && counter <= ended.counter + 1;
  fail(!isWithin, `the counter was ${begun.counter} to ${ended.counter}, and is ${counter}`);
  const topicMessages = await countMessages(platform);
  fail(topicMessages < begun.topicMessages, `of ${begun.topicMessages} messages there are ${topicMessages}`);
  return { keysEqual, counterRestored: counter ?? 0, topicMessages };
}

const silenceMs = 2_000;

/** Until no more come. */
async function countMessages(platform: Platform): Promise<number> {
  const silence = new AbortController();
  const messages = clientOf(platform).topics.subscribe(topic, { after: '0', signal: silence.signal });
  const timer = setTimeout(() => silence.abort(), silenceMs);
  let count = 0;
  try {
    while ((await messages.next()).done !== true) {
      count += 1;
      timer.refresh();
    }
  } catch (error) {
    if (!silence.signal.aborted) throw error;
  }
  clearTimeout(timer);
  return count;
}

async function examineNewWork(platform: Platform, load: DrillLoad, fail: Fail): Promise<void> {
  const client = clientOf(platform);
  const answer = await client.emit({ name: 'order.placed', data: { order: 'new' } }, { wait: '30s' });
  fail(answer.runs?.[0]?.status !== 'completed', 'a new order was not completed');
  const { revision } = await client.kv(buckets.stock).put('new', 1);
  fail(revision <= load.revisionMax(), 'a revision was handed out twice');
}
