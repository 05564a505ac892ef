/**
 * Apps and functions of an environment, under a version that every change of them raises. Readers keep what
 * they have read for as long as nobody tells them of a higher version; the statement that routes events
 * compares it once more.
 */
import type { z } from 'zod';
import { IronflowError } from '@ironflow/errors';
import { limitKeys } from '@ironflow/schema';
import type {
  AppManifest,
  Concurrency,
  FunctionConfig,
  RegisteredApp,
  Registry,
  registerAnswerSchema,
  Scope,
} from '@ironflow/schema';
import type { Database, Queryable, Statement } from './database.js';
import { scopeColumns, scopeOf } from './environment-scope.js';
import type { ScopeRow } from './environment-scope.js';
import { planRegistration } from './registration.js';
import type { FunctionState, RegistrationPlan } from './registration.js';
import { schedulesOf } from './schedule-registration.js';
import { writeSchedules } from './schedules.js';

export interface RegistryReader {
  /** As it was read last; read when it never was. */
  get(environmentId: string): Promise<Registry>;
  /** Read again if what is known is older. */
  atLeast(environmentId: string, version: number): Promise<Registry>;
  invalidate(environmentId: string): void;
}

export type Registration = z.infer<typeof registerAnswerSchema> & { version: number };

/** Beyond, the one read the longest ago goes and is read again when asked for. */
const registriesMax = 10_000;

export function createRegistryReader(database: Database): RegistryReader {
  const known = new Map<string, Promise<Registry>>();

  const load = (environmentId: string): Promise<Registry> => {
    const loading = readRegistry(database, environmentId);
    // At the end, where the newest are: setting what is there already would leave it in its place.
    known.delete(environmentId);
    known.set(environmentId, loading);
    if (known.size > registriesMax) known.delete(known.keys().next().value!);
    loading.catch(() => {
      if (known.get(environmentId) === loading) known.delete(environmentId);
    });
    return loading;
  };
  const get = (environmentId: string): Promise<Registry> => known.get(environmentId) ?? load(environmentId);

  return {
    get,
    atLeast: async (environmentId, version) => {
      const before = known.get(environmentId);
      const registry = await get(environmentId);
      if (registry.version >= version || before === undefined) return registry;
      // Somebody else may be reading it again already.
      const current = known.get(environmentId);
      return current === undefined || current === before ? load(environmentId) : current;
    },
    invalidate: (environmentId) => {
      known.delete(environmentId);
    },
  };
}

/** One transaction; registrations of one environment go one after the other. */
export async function registerApp(
  database: Database,
  environmentId: string,
  manifest: AppManifest,
): Promise<Registration> {
  return database.inEnvironment(environmentId, async (transaction) => {
    const [environment] = await transaction.query<LockRow>(lockStatement, [environmentId]);
    if (environment === undefined) throw unknownEnvironment(environmentId);
    // By a key that was let in just before: its schedules would fire.
    if (environment.archived) {
      throw new IronflowError('forbidden', 'environment_archived', 'the environment is archived');
    }
    const [known] = await transaction.query<RegisteredApp>(appStatement, [environmentId, manifest.id]);
    const functions = await transaction.query<FunctionState>(functionStatesStatement, [
      environmentId,
      manifest.id,
      manifest.functions.map(({ id }) => id),
    ]);
    const plan = planRegistration(known && { ...known, url: known.url ?? undefined }, functions, manifest);
    const sdk = manifest.sdk ?? null;
    const url = manifest.url ?? null;
    const signedAnswers = manifest.signedAnswers ?? false;
    const app = [environmentId, manifest.id, manifest.mode, url, sdk, signedAnswers];
    await transaction.query(putAppStatement, app);
    if (plan.changed) await writePlan(transaction, environmentId, manifest.id, plan);
    return {
      appId: manifest.id,
      registered: plan.registered.map(({ config }) => config.id),
      unchanged: plan.unchanged,
      archived: plan.archived,
      version: environment.registry_version + (plan.changed ? 1 : 0),
    };
  });
}

export interface Pause {
  environmentId: string;
  /** All of the environment without. */
  functionId?: string;
  paused: boolean;
}

/** Answers the version that says so, also when it was so before; `undefined` when there is no such function. */
export async function setPaused(
  database: Database,
  { environmentId, functionId, paused }: Pause,
): Promise<number | undefined> {
  return database.inEnvironment(environmentId, async (transaction) => {
    const [environment] = await transaction.query<LockRow>(lockStatement, [environmentId]);
    if (environment === undefined) throw unknownEnvironment(environmentId);
    const [row] =
      functionId === undefined
        ? await transaction.query<PauseRow>(pauseEnvironmentStatement, [environmentId, paused])
        : await transaction.query<PauseRow>(pauseFunctionStatement, [environmentId, functionId, paused]);
    if (row === undefined) return undefined;
    if (row.was_paused === paused) return environment.registry_version;
    await transaction.query(raiseVersionStatement, [environmentId]);
    return environment.registry_version + 1;
  });
}

export interface FunctionLimits {
  environmentId: string;
  functionId: string;
  concurrency: number | null;
}

/** Answers the version that says so; `undefined` when there is no such function. */
export async function setFunctionLimits(
  database: Database,
  { environmentId, functionId, concurrency }: FunctionLimits,
): Promise<number | undefined> {
  return database.inEnvironment(environmentId, async (transaction) => {
    const [environment] = await transaction.query<LockRow>(lockStatement, [environmentId]);
    if (environment === undefined) throw unknownEnvironment(environmentId);
    const set = await transaction.query(limitFunctionStatement, [environmentId, functionId, concurrency]);
    if (set.length === 0) return undefined;
    await transaction.query(raiseVersionStatement, [environmentId]);
    return environment.registry_version + 1;
  });
}

/** All but those that were erased. Needs ironflow_service. */
export async function listEnvironments(
  database: Database,
): Promise<{ scope: Scope; registryVersion: number }[]> {
  const rows = await database.query<ScopeRow & { registry_version: number }>(environmentsStatement, []);
  return rows.map((row) => ({ scope: scopeOf(row), registryVersion: row.registry_version }));
}

async function writePlan(
  transaction: Queryable,
  environmentId: string,
  appId: string,
  plan: RegistrationPlan,
): Promise<void> {
  const { registered, archived } = plan;
  await transaction.query(putFunctionsStatement, [
    environmentId,
    appId,
    registered.map(({ config }) => config.id),
    registered.map(({ config }) => JSON.stringify(config)),
    registered.map(({ hash }) => hash),
  ]);
  await transaction.query(archiveStatement, [environmentId, archived]);
  await writeSchedules(transaction, environmentId, {
    touched: [...registered.map(({ config }) => config.id), ...archived],
    wanted: registered.flatMap(({ config }) => schedulesOf(config)),
  });
  await transaction.query(raiseVersionStatement, [environmentId]);
}

async function readRegistry(database: Database, environmentId: string): Promise<Registry> {
  const [row] = await database.inEnvironment(environmentId, (transaction) =>
    transaction.query<RegistryRow>(readStatement, [environmentId]),
  );
  if (row === undefined) throw unknownEnvironment(environmentId);
  return {
    environmentId,
    version: row.registry_version,
    apps: new Map(
      row.apps.map(([id, mode, url, signedAnswers]) => [
        id,
        { id, mode, url: url ?? undefined, signedAnswers },
      ]),
    ),
    functions: new Map(
      row.functions.map(([appId, config, hash, registeredAtMs, limit]) => [
        config.id,
        {
          appId,
          config: withLimits(config, { environment: row.concurrency, function: limit }),
          hash,
          registeredAtMs,
        },
      ]),
    ),
    archived: new Map(row.archived.map(([id, appId, hash]) => [id, { appId, hash }])),
    paused: row.is_paused,
    pausedFunctions: new Set(row.paused_functions),
  };
}

/** Rules beside those of the code. Runs that were routed before one is set are not counted by it. */
function withLimits(
  config: FunctionConfig,
  limits: { environment: number | null; function: number | null },
): FunctionConfig {
  const rules: Concurrency[] = [];
  if (limits.environment !== null) {
    rules.push({ limit: limits.environment, scope: 'env', key: limitKeys.environment });
  }
  if (limits.function !== null) {
    rules.push({ limit: limits.function, scope: 'function', key: limitKeys.function });
  }
  return rules.length === 0 ? config : { ...config, concurrency: [...(config.concurrency ?? []), ...rules] };
}

function unknownEnvironment(environmentId: string): IronflowError {
  return new IronflowError('not_found', 'environment_unknown', `there is no environment ${environmentId}`);
}

interface LockRow {
  registry_version: number;
  archived: boolean;
}

interface PauseRow {
  was_paused: boolean;
}

interface RegistryRow {
  registry_version: number;
  apps: [string, RegisteredApp['mode'], string | null, boolean][];
  functions: [string, FunctionConfig, string, number, number | null][];
  archived: [string, string, string][];
  is_paused: boolean;
  paused_functions: string[];
  concurrency: number | null;
}

// One statement, hence one snapshot: version and content belong together. Nothing that was accepted for a function waits for a
// day to be routed.
const readStatement: Statement = {
  name: 'read_registry',
  text: `select e.registry_version, e.paused_at is not null or e.archived_at is not null as is_paused,
      array(select id from functions where environment_id = e.id and paused_at is not null) as paused_functions,
      (select concurrency from environment_quotas where environment_id = e.id) as concurrency,
      coalesce((select json_agg(json_build_array(id, mode, url, signed_answers)) from apps
        where environment_id = e.id), '[]') as apps,
      coalesce((select json_agg(json_build_array(app_id, config, hash,
        floor(extract(epoch from registered_at) * 1000), concurrency_limit))
        from functions where environment_id = e.id and status = 'active'), '[]') as functions,
      coalesce((select json_agg(json_build_array(id, app_id, hash))
        from functions where environment_id = e.id and archived_at > now() - interval '1 day'), '[]') as archived
    from environments e where e.id = $1`,
};
const lockStatement: Statement = {
  name: 'lock_registry',
  text: 'select registry_version, archived_at is not null as archived from environments where id = $1 for update',
};
const appStatement: Statement = {
  name: 'registered_app',
  text: 'select id, mode, url, signed_answers as "signedAnswers" from apps where environment_id = $1 and id = $2',
};
const functionStatesStatement: Statement = {
  name: 'function_states',
  text: `select id, app_id as "appId", hash, status from functions
    where environment_id = $1 and (app_id = $2 or id = any($3::text[]))`,
};
const putAppStatement: Statement = {
  name: 'put_app',
  text: `insert into apps (environment_id, id, mode, url, sdk, signed_answers) values ($1, $2, $3, $4, $5, $6)
    on conflict (environment_id, id) do update set mode = excluded.mode, url = excluded.url,
      sdk = excluded.sdk, signed_answers = excluded.signed_answers`,
};
const putFunctionsStatement: Statement = {
  name: 'put_functions',
  text: `insert into functions (environment_id, app_id, id, config, hash)
    select $1, $2, f.id, f.config::json, f.hash from unnest($3::text[], $4::text[], $5::text[]) as f (id,
      config, hash)
    on conflict (environment_id, id) do update set app_id = excluded.app_id, config = excluded.config,
      hash = excluded.hash, status = 'active', registered_at = now(), archived_at = null`,
};
const archiveStatement: Statement = {
  name: 'archive_functions',
  text: `update functions set status = 'archived', archived_at = now()
    where environment_id = $1 and id = any($2::text[])`,
};
const raiseVersionStatement: Statement = {
  name: 'raise_registry_version',
  text: 'update environments set registry_version = registry_version + 1 where id = $1',
};
// The row is locked before, so that what it was is what it is when it changes.
const pauseEnvironmentStatement: Statement = {
  name: 'pause_environment',
  text: `with before as (select id, paused_at from environments where id = $1)
    update environments e set paused_at = case when $2 then coalesce(e.paused_at, now()) end
    from before where e.id = before.id returning before.paused_at is not null as was_paused`,
};
const pauseFunctionStatement: Statement = {
  name: 'pause_function',
  text: `with before as (select id, paused_at from functions where environment_id = $1 and id = $2)
    update functions f set paused_at = case when $3 then coalesce(f.paused_at, now()) end
    from before where f.environment_id = $1 and f.id = before.id returning before.paused_at is not null as was_paused`,
};
const limitFunctionStatement: Statement = {
  name: 'limit_function',
  text: 'update functions set concurrency_limit = $3 where environment_id = $1 and id = $2 returning 1',
};
const environmentsStatement: Statement = {
  name: 'environments',
  text: `select e.id as environment_id, ${scopeColumns}, e.registry_version from environments e
    where e.erased_at is null order by e.id`,
};
