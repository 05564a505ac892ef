/**
 * The log of deliveries to sources of webhooks: written by ingest in batches, read by the api, pruned by the scheduler. Who can
 * send can be refused as often as they like: the log takes so many refusals a minute of each source, and the others are counted.
 */
import { limits } from '@ironflow/schema';
import type {
  DeliveriesPage,
  DeliveriesQuery,
  Delivery,
  DeliveryStatus,
  WebhookRefusal,
} from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { cutPage, pageWindow } from './page.js';

export interface NewDelivery {
  id: string;
  sourceId: string;
  status: DeliveryStatus;
  reason?: WebhookRefusal | undefined;
  deliveryId?: string | undefined;
  eventId?: string | undefined;
  eventName?: string | undefined;
}

/** Those of a source that is gone are left out. */
export async function recordDeliveries(
  database: Database,
  environmentId: string,
  deliveries: readonly NewDelivery[],
): Promise<void> {
  const column = <T>(pick: (delivery: NewDelivery) => T): T[] => deliveries.map(pick);
  const values = [
    environmentId,
    column((delivery) => delivery.id),
    column((delivery) => delivery.sourceId),
    column((delivery) => delivery.status),
    column((delivery) => delivery.reason ?? null),
    column((delivery) => delivery.deliveryId ?? null),
    column((delivery) => delivery.eventId ?? null),
    column((delivery) => delivery.eventName ?? null),
  ];
  await database.inEnvironment(environmentId, async (transaction) => {
    const isRefused = deliveries.some(({ status }) => status === 'refused');
    if (isRefused)
      await transaction.query(recordCountedStatement, [...values, limits.webhookRefusalsPerMinuteMax]);
    else await transaction.query(recordStatement, values);
  });
}

export async function listDeliveries(
  transaction: Queryable,
  { environmentId, sourceId }: { environmentId: string; sourceId: string },
  query: DeliveriesQuery,
): Promise<DeliveriesPage> {
  const { lowest, end } = pageWindow(query);
  const values = [environmentId, sourceId, lowest, end, query.limit + 1];
  const rows =
    query.status === undefined
      ? await transaction.query<DeliveryRow>(listStatement, values)
      : await transaction.query<DeliveryRow>(listByStatusStatement, [...values, query.status]);
  const page = cutPage(rows, query.limit);
  return {
    deliveries: page.rows.map(toDelivery),
    ...(page.nextCursor === undefined ? {} : { nextCursor: page.nextCursor }),
  };
}

/** Those of 30 days, and those of each source beyond the newest that are kept. Answers how many. */
export async function removeOldDeliveries(database: Database, limit: number): Promise<number> {
  const expired = await database.query(expiredStatement, [limit]);
  const surplus = await database.query(surplusStatement, [
    limit - expired.length,
    limits.webhookDeliveriesKept,
  ]);
  return expired.length + surplus.length;
}

const given = `select g.* from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[])
    as g (id, source_id, status, reason, delivery_id, event_id, event_name)`;
const columns = 'id, environment_id, source_id, status, reason, delivery_id, event_id, event_name';
const insertion = `insert into webhook_deliveries (${columns})
    select g.id, $1::uuid, g.source_id, g.status, g.reason, g.delivery_id, g.event_id, g.event_name`;

const recordStatement: Statement = {
  name: 'record_deliveries',
  text: `${insertion} from (${given}) g join webhook_sources s on s.environment_id = $1 and s.id = g.source_id`,
};

/** Sources are locked in one order, so that no two statements wait for each other. */
const recordCountedStatement: Statement = {
  name: 'record_deliveries_counted',
  text: `with given as materialized (
    select g.*, row_number() over (partition by g.source_id, g.status = 'refused' order by g.id) as place
    from (${given}) g
  ), locked as materialized (
    select s.id, case when s.refused_minute = date_trunc('minute', now()) then s.refused_in_minute else 0 end as before
    from webhook_sources s where s.environment_id = $1 and s.id in (select source_id from given)
    order by s.id for update
  ), counted as materialized (
    select l.id, l.before, count(*) filter (where g.status = 'refused')::int as count
    from locked l join given g on g.source_id = l.id group by l.id, l.before
  ), counting as (
    update webhook_sources s set
      refused = s.refused + c.count,
      refused_unlogged = s.refused_unlogged + least(c.count, greatest(0, c.before + c.count - $9::int)),
      refused_minute = date_trunc('minute', now()),
      refused_in_minute = c.before + c.count
    from counted c where s.environment_id = $1 and s.id = c.id
  )
  ${insertion} from given g join counted c on c.id = g.source_id
  where g.status <> 'refused' or c.before + g.place <= $9::int`,
};

const listText = (
  condition: string,
): string => `select id, status, reason, delivery_id, event_id, event_name, received_at,
    false as beyond
  from webhook_deliveries
  where environment_id = $1 and source_id = $2 and id >= $3 and id < $4 ${condition} order by id desc limit $5`;
const listStatement: Statement = { name: 'list_deliveries', text: listText('') };
const listByStatusStatement: Statement = {
  name: 'list_deliveries_status',
  text: listText('and status = $6'),
};
const expiredStatement: Statement = {
  name: 'remove_expired_deliveries',
  text: `delete from webhook_deliveries where ctid = any(array(
      select ctid from webhook_deliveries where id < lowest_id_at(now() - interval '30 days')
      order by id limit $1 for update skip locked))
    returning 1`,
};
const surplusStatement: Statement = {
  name: 'remove_surplus_deliveries',
  text: `delete from webhook_deliveries where ctid = any(array(
      select d.ctid from webhook_sources s cross join lateral (
        select ctid from webhook_deliveries
        where environment_id = s.environment_id and source_id = s.id order by id desc offset $2 limit $1
      ) d limit $1))
    returning 1`,
};

interface DeliveryRow {
  id: string;
  status: DeliveryStatus;
  reason: WebhookRefusal | null;
  delivery_id: string | null;
  event_id: string | null;
  event_name: string | null;
  received_at: Date;
  beyond: boolean;
}

function toDelivery(row: DeliveryRow): Delivery {
  return {
    id: row.id,
    status: row.status,
    ...(row.reason === null ? {} : { reason: row.reason }),
    ...(row.delivery_id === null ? {} : { deliveryId: row.delivery_id }),
    ...(row.event_id === null ? {} : { eventId: row.event_id }),
    ...(row.event_name === null ? {} : { eventName: row.event_name }),
    receivedAt: row.received_at.toISOString(),
  };
}
