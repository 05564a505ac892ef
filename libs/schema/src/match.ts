/** What two events are matched by: a value of their data that can be compared. Pure. */

export type MatchValue = string | number | boolean;

/** At a path of keys joined by dots; `undefined` where there is nothing, or a list or an object. */
export function matchValueAt(data: unknown, path: string): MatchValue | undefined {
  let value = data;
  for (const key of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? value
    : undefined;
}
