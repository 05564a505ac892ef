/** What registering an app changes. Pure: what is registered and what is wanted in, the difference out. */
import { createHash } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import type { AppManifest, FunctionConfig, RegisteredApp } from '@ironflow/schema';

export interface FunctionState {
  id: string;
  appId: string;
  hash: string;
  status: 'active' | 'archived';
}

export interface RegistrationPlan {
  /** Whether anything that a reader of the registry sees is different afterwards. */
  changed: boolean;
  /** New, changed, or out of the archive. */
  registered: { config: FunctionConfig; hash: string }[];
  unchanged: string[];
  /** No longer in the app. */
  archived: string[];
}

/** `functions` are those of the app, and those of other apps that have an id of the manifest. */
export function planRegistration(
  app: RegisteredApp | undefined,
  functions: readonly FunctionState[],
  manifest: AppManifest,
): RegistrationPlan {
  const known = new Map(functions.map((state) => [state.id, state]));
  const plan: RegistrationPlan = { changed: false, registered: [], unchanged: [], archived: [] };
  for (const [index, config] of manifest.functions.entries()) {
    const state = known.get(config.id);
    const isActive = state?.status === 'active';
    if (isActive && state.appId !== manifest.id) throw functionTaken(index, config.id, state.appId);
    const hash = hashOf(config);
    if (isActive && state.hash === hash) plan.unchanged.push(config.id);
    else plan.registered.push({ config, hash });
  }
  const wanted = new Set(manifest.functions.map(({ id }) => id));
  plan.archived = functions
    .filter(({ id, appId, status }) => status === 'active' && appId === manifest.id && !wanted.has(id))
    .map(({ id }) => id);
  const isSameApp =
    app !== undefined &&
    app.mode === manifest.mode &&
    app.url === manifest.url &&
    app.signedAnswers === (manifest.signedAnswers ?? false);
  plan.changed = !isSameApp || plan.registered.length > 0 || plan.archived.length > 0;
  return plan;
}

/** The same for the same configuration, in whatever order its fields come. */
function hashOf(config: FunctionConfig): string {
  return createHash('sha256').update(canonical(config)).digest('hex').slice(0, 32);
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${canonical(field)}`).join(',')}}`;
}

function functionTaken(index: number, id: string, owner: string): IronflowError {
  return new IronflowError(
    'conflict',
    'function_id_taken',
    `the function id "${id}" belongs to the app "${owner}" of this environment`,
    { field: `functions[${index}].id` },
  );
}
