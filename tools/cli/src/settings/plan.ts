/**
 * From settings as they are to those that are wanted: which changes that takes, and what stands in their way. Pure.
 *
 * What the wanted settings do not name stays as it is. With `prune` it goes, in the sections that they have; of functions, schedules
 * and secrets it stays nevertheless, as those are not made by settings.
 */
import type { FunctionSettings, Settings } from '@ironflow/schema';

/** Every section, as it is. */
export type CurrentSettings = Required<Settings>;

export type ChangingSection = Exclude<keyof Settings, 'version' | 'secrets'>;

export interface Change {
  section: ChangingSection;
  name: string;
  kind: 'create' | 'update' | 'delete';
  before?: unknown;
  after?: unknown;
}

/** What settings cannot do; nothing is applied while there is any. */
export interface Obstacle {
  section: Exclude<keyof Settings, 'version'>;
  name: string;
  reason: string;
}

export interface Plan {
  changes: Change[];
  obstacles: Obstacle[];
}

/** What is to be there before others: the limits, then what functions read, then what starts them. */
const order: readonly ChangingSection[] = [
  'quotas',
  'retention',
  'kv',
  'config',
  'webhooks',
  'functions',
  'schedules',
];
const prunable: ReadonlySet<ChangingSection> = new Set(['quotas', 'kv', 'config', 'webhooks']);
/** Null is what the platform has for it, which is what there is without one. */
const nullable: ReadonlySet<ChangingSection> = new Set(['quotas', 'retention']);

export function planSettings(
  current: CurrentSettings,
  wanted: Settings,
  { prune }: { prune: boolean },
): Plan {
  const changes = order.flatMap((section) => {
    const after: Record<string, unknown> | undefined = wanted[section];
    return after === undefined
      ? []
      : changesOf(section, current[section], after, prune && prunable.has(section));
  });
  const obstacles = changes.flatMap((change) => obstacleTo(change) ?? []);
  for (const name of new Set(wanted.secrets)) {
    if (current.secrets.includes(name)) continue;
    obstacles.push({ section: 'secrets', name, reason: `is not set (ironflow secrets set ${name})` });
  }
  return { changes, obstacles };
}

function changesOf(
  section: ChangingSection,
  before: Record<string, unknown>,
  after: Record<string, unknown>,
  prune: boolean,
): Change[] {
  const isThere = (value: unknown): boolean =>
    value !== undefined && (value !== null || !nullable.has(section));
  const names = [...new Set([...Object.keys(after), ...(prune ? Object.keys(before) : [])])].sort();
  return names.flatMap((name): Change[] => {
    const was = before[name];
    const is = section === 'functions' ? merged(was, after[name]) : after[name];
    if (!isThere(was)) return isThere(is) ? [{ section, name, kind: 'create', after: is }] : [];
    if (!isThere(is)) return [{ section, name, kind: 'delete', before: was }];
    return isSame(was, is) ? [] : [{ section, name, kind: 'update', before: was, after: is }];
  });
}

/** What a function's settings do not name stays as it is; null is the same as none. */
function merged(was: unknown, is: unknown): unknown {
  if (was === undefined || is === undefined) return is;
  const fields = Object.entries({ ...(was as FunctionSettings), ...(is as FunctionSettings) });
  return Object.fromEntries(fields.filter(([, value]) => value !== null));
}

function obstacleTo({ section, name, kind, before, after }: Change): Obstacle | undefined {
  if (section === 'webhooks' && kind === 'update') {
    const [was, is] = [before, after].map((webhook) => ({ ...(webhook as object), paused: false }));
    if (isSame(was, is)) return undefined;
    const reason =
      'cannot be changed but for a pause: delete it and make another one, with an address of its own';
    return { section, name, reason };
  }
  if (kind === 'create' && (section === 'functions' || section === 'schedules')) {
    return { section, name, reason: 'is not there: its app has not registered it' };
  }
  return undefined;
}

/** Where two values of JSON differ; lists differ as a whole. */
export interface Difference {
  path: string;
  before?: unknown;
  after?: unknown;
}

export function differencesOf(before: unknown, after: unknown, path = ''): Difference[] {
  if (Object.is(before, after)) return [];
  if (Array.isArray(before) && Array.isArray(after)) {
    const isEqual = before.length === after.length && before.every((value, at) => isSame(value, after[at]));
    return isEqual ? [] : [{ path, before, after }];
  }
  if (!isRecord(before) || !isRecord(after)) return [{ path, before, after }];
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((field) =>
    differencesOf(before[field], after[field], path === '' ? field : `${path}.${field}`),
  );
}

function isSame(before: unknown, after: unknown): boolean {
  return differencesOf(before, after).length === 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
