/** Which service a path leads to, as controllers decide: what is exact first, then patterns, then the longest beginning. Pure. */

export interface Paths {
  exact?: readonly string[];
  prefix?: readonly string[];
  /** With `:id` for one segment. */
  patterns?: readonly string[];
}

export type Routing = Readonly<Record<string, Paths>>;

export function servedBy(routing: Routing, path: string): string | undefined {
  const services = Object.entries(routing);
  const exact = services.find(([, paths]) => paths.exact?.includes(path));
  if (exact !== undefined) return exact[0];
  const pattern = services.find(([, paths]) =>
    paths.patterns?.some((one) => new RegExp(`^${one.replaceAll(':id', '[^/]+')}$`).test(path)),
  );
  if (pattern !== undefined) return pattern[0];
  const beginnings = services.flatMap(([service, { prefix = [] }]) =>
    prefix
      .filter((one) => path === one || path.startsWith(`${one}/`))
      .map((one) => ({ service, length: one.length })),
  );
  return beginnings.sort((a, b) => b.length - a.length)[0]?.service;
}
