/**
 * The connection to PostgreSQL: one pool for the hot paths' prepared statements and for Prisma. What is sent
 * here is short and by key; what a statement says is in the file of the service that owns it.
 */
import { PrismaPg } from '@prisma/adapter-pg';
import { uuidSchema } from '@ironflow/schema';
import pg from 'pg';
import { asDatabaseError, isUnanswered } from './database-error.js';
import { PrismaClient } from './generated/client.js';

export interface DatabaseOptions {
  /** A login of one of the two service roles. */
  url: string;
  /** Shown by PostgreSQL beside every connection. */
  applicationName: string;
  /** 10 by default. */
  maxConnections?: number;
  /** After which PostgreSQL gives a statement up; 30 s by default. */
  statementTimeoutMs?: number;
}

/** A statement is prepared once per connection under its name: one name, one text. */
export interface Statement {
  name: string;
  text: string;
}

export interface Queryable {
  query<Row>(statement: Statement, values: readonly unknown[]): Promise<Row[]>;
}

export interface PoolState {
  open: number;
  idle: number;
  /** Statements and transactions that wait for a connection. */
  waiting: number;
}

export interface Database extends Queryable {
  /** Commits when `work` resolves, rolls back when it rejects. */
  transaction<T>(work: (transaction: Queryable) => Promise<T>): Promise<T>;
  /** A transaction in which row-level security lets ironflow_tenant see this environment, and no other. */
  inEnvironment<T>(environmentId: string, work: (transaction: Queryable) => Promise<T>): Promise<T>;
  /** Milliseconds since 1970 by the one clock that decides. */
  now(): Promise<number>;
  isReachable(): Promise<boolean>;
  poolState(): PoolState;
  /**
   * Runs `work` while this process alone holds the lock; `undefined` when another does. The lock goes with
   * its connection: work that takes long has to be safe to run twice.
   */
  withAdvisoryLock<T>(name: string, work: () => Promise<T>): Promise<T | undefined>;
  close(): Promise<void>;
  /** For management, over the same pool. */
  readonly prisma: PrismaClient;
}

const maxConnectionsDefault = 10;
const connectTimeoutMs = 5_000;
/** Nothing sent here takes long: what does is stuck, and holds locks that others wait for. */
const statementTimeoutMsDefault = 30_000;
/** PostgreSQL speaks first about a statement that takes too long; when it does not, its host is gone. */
const answerGraceMs = 5_000;
/** A host that vanished is noticed on idle connections too; the system's own default is two hours. */
const keepAliveAfterMs = 10_000;

/**
 * The hot paths' statements are by key and prepared, so one plan is right for all values: planning over a
 * year of partitions costs more than running. Sequential scans are off because plans are made, and kept,
 * while tables are still empty. Lists over time and filters differ: those run inEnvironment and are planned
 * for their values.
 */
const sessionSettings = ['plan_cache_mode=force_generic_plan', 'enable_seqscan=off', 'jit=off'];

/**
 * PostgreSQL 18 (seen in 18.4) breaks down, and may overlook rows, where one part of a statement locks rows that somebody else
 * has just changed and a later part leaves out partitions as it runs: to look at the changed rows it makes its plan's state
 * anew, and forgets that the old one is still in use. There all partitions are looked at instead.
 */
const avoidFreedPlans = `select set_config('enable_partition_pruning', 'off', false)
  where current_setting('server_version_num')::integer >= 180000`;

export function createDatabase(options: DatabaseOptions): Database {
  const statementTimeoutMs = options.statementTimeoutMs ?? statementTimeoutMsDefault;
  const pool = new pg.Pool({
    connectionString: options.url,
    application_name: options.applicationName,
    max: options.maxConnections ?? maxConnectionsDefault,
    connectionTimeoutMillis: connectTimeoutMs,
    statement_timeout: statementTimeoutMs,
    query_timeout: statementTimeoutMs + answerGraceMs,
    idle_in_transaction_session_timeout: statementTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveAfterMs,
    options: sessionSettings.map((setting) => `-c ${setting}`).join(' '),
    // The pool waits for it, which its types do not say.
    onConnect: ((client) => client.query(avoidFreedPlans)) as (client: pg.ClientBase) => void,
  });
  // A connection that breaks while idle is replaced by the next query; unheard, the event would end the
  // process.
  pool.on('error', () => undefined);
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });

  const transaction = <T>(begin: string, work: (transaction: Queryable) => Promise<T>): Promise<T> =>
    withClient(pool, (client) => runTransaction(client, begin, work));

  return {
    query: (statement, values) => send(pool, statement, values),
    transaction: (work) => transaction('begin', work),
    inEnvironment: async (environmentId, work) => {
      // All of it goes in one round trip, which takes no parameters: what is spelled out is a UUID and
      // nothing else.
      const environment = uuidSchema.parse(environmentId);
      return transaction(
        `begin; set local plan_cache_mode = force_custom_plan; set local ironflow.environment_id = '${environment}'`,
        work,
      );
    },
    now: async () => {
      const rows = await send<{ now_ms: number }>(pool, readClock, []);
      return rows[0]!.now_ms;
    },
    isReachable: () =>
      send(pool, readClock, []).then(
        () => true,
        () => false,
      ),
    poolState: () => ({ open: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    withAdvisoryLock: (name, work) => withClient(pool, (client) => runLocked(client, name, work)),
    close: async () => {
      await prisma.$disconnect();
      if (!pool.ended) await pool.end();
    },
    prisma,
  };
}

const readClock: Statement = {
  name: 'read_clock',
  text: 'select floor(extract(epoch from clock_timestamp()) * 1000)::float8 as now_ms',
};
const tryLock: Statement = {
  name: 'try_advisory_lock',
  text: 'select pg_try_advisory_lock(hashtextextended($1, 0)) as taken',
};
const unlock: Statement = {
  name: 'advisory_unlock',
  text: 'select pg_advisory_unlock(hashtextextended($1, 0))',
};

async function send<Row>(
  on: pg.Pool | pg.PoolClient,
  statement: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  try {
    const result = await on.query({ name: statement.name, text: statement.text, values: [...values] });
    return result.rows as Row[];
  } catch (error) {
    throw asDatabaseError(error);
  }
}

/** A connection on which something went wrong at the level of the connection is thrown away, not returned. */
async function withClient<T>(pool: pg.Pool, use: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw asDatabaseError(error);
  });
  let broken: Error | undefined;
  const onError = (error: Error): void => {
    broken = error;
  };
  client.on('error', onError);
  try {
    return await use(client);
  } catch (error) {
    if (error instanceof UnusableConnection) {
      broken = error;
      throw error.cause;
    }
    throw error;
  } finally {
    client.off('error', onError);
    client.release(broken);
  }
}

/**
 * The transaction could not even be rolled back: whatever its connection is in the middle of, nobody else
 * gets it.
 */
class UnusableConnection extends Error {
  constructor(override readonly cause: unknown) {
    super('the connection cannot be used again');
  }
}

async function runTransaction<T>(
  client: pg.PoolClient,
  begin: string,
  work: (transaction: Queryable) => Promise<T>,
): Promise<T> {
  try {
    await client.query(begin);
    const result = await work({ query: (statement, values) => send(client, statement, values) });
    await client.query('commit');
    return result;
  } catch (error) {
    const reason = asDatabaseError(error);
    if (isUnanswered(reason)) throw new UnusableConnection(reason);
    await client.query('rollback').catch(() => {
      throw new UnusableConnection(reason);
    });
    throw reason;
  }
}

async function runLocked<T>(
  client: pg.PoolClient,
  name: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  const rows = await send<{ taken: boolean }>(client, tryLock, [name]);
  if (rows[0]?.taken !== true) return undefined;
  try {
    return await work();
  } finally {
    await send(client, unlock, [name]).catch((error: unknown) => {
      throw new UnusableConnection(error);
    });
  }
}
