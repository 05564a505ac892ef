// @ts-check
/**
 * Which packages a program of the workspace needs at run time, by package-lock.json and the manifests of the workspace. Pure: it reads
 * no folder, so that what an image has depends on the lock and on nothing that happens to be installed.
 */

/**
 * @typedef {{
 *   version?: string, link?: boolean, resolved?: string, os?: string[], cpu?: string[],
 *   dependencies?: Record<string, string>, optionalDependencies?: Record<string, string>,
 *   peerDependencies?: Record<string, string>, peerDependenciesMeta?: Record<string, { optional?: boolean }>,
 * }} Manifest
 * @typedef {{ os: string, cpu: string }} Machine
 * @typedef {{ workspace: string[], installed: Record<string, string>, links: Record<string, string> }} Closure
 */

/**
 * All by their place in the workspace, sorted: its own packages (`libs/schema`), those of others with their versions (`node_modules/pg`,
 * a nested one where another version of it is needed), and which of the former is linked where.
 * @param {{
 *   program: string, locked: Record<string, Manifest>, manifestOf: (folder: string) => Manifest, machine: Machine,
 * }} options `manifestOf` answers for packages of the workspace, whose manifests are the truth about them
 * @returns {Closure}
 */
export function productionClosure({ program, locked, manifestOf, machine }) {
  /** @type {Set<string>} */
  const found = new Set([program]);
  /** @type {Record<string, string>} */
  const links = {};
  for (const place of found) {
    const manifest = isInstalled(place) ? /** @type {Manifest} */ (locked[place]) : manifestOf(place);
    for (const { name, isOptional } of needsOf(manifest)) {
      const needed = resolve(locked, place, name);
      const entry = needed === undefined ? undefined : locked[needed];
      if (needed === undefined || entry === undefined) {
        if (isOptional) continue;
        throw new Error(`package-lock.json has no ${name}, which ${place} needs: run npm install`);
      }
      if (entry.link === true) {
        links[needed] = /** @type {string} */ (entry.resolved);
        found.add(links[needed]);
      } else if (!isOptional || suits(entry, machine)) found.add(needed);
    }
  }
  const all = [...found].sort();
  const installed = all.filter(isInstalled).map((place) => [place, locked[place]?.version ?? '']);
  return {
    workspace: all.filter((place) => !isInstalled(place)),
    installed: Object.fromEntries(installed),
    links,
  };
}

/** @param {string} place */
function isInstalled(place) {
  return place.split('/').includes('node_modules');
}

/**
 * Peers count, as npm installs them, unless they are optional. Declarations of types are nothing to a program that runs.
 * @param {Manifest} manifest
 */
function needsOf({ dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta }) {
  const optional = Object.keys(optionalDependencies ?? {});
  const peers = Object.keys(peerDependencies ?? {}).filter(
    (name) => peerDependenciesMeta?.[name]?.optional !== true,
  );
  const names = new Set([...Object.keys(dependencies ?? {}), ...optional, ...peers]);
  return [...names]
    .filter((name) => !name.startsWith('@types/'))
    .map((name) => ({ name, isOptional: optional.includes(name) }));
}

/**
 * As Node looks for it: beside who needs it, then in every folder above.
 * @param {Record<string, Manifest>} locked
 * @param {string} from
 * @param {string} name
 */
function resolve(locked, from, name) {
  const segments = from.split('/');
  for (let length = segments.length; length >= 0; length -= 1) {
    if (segments[length - 1] === 'node_modules') continue;
    const place = [...segments.slice(0, length), 'node_modules', name].join('/');
    if (locked[place] !== undefined) return place;
  }
  return undefined;
}

/**
 * @param {Manifest} entry
 * @param {Machine} machine
 */
function suits({ os, cpu }, machine) {
  return allows(os, machine.os) && allows(cpu, machine.cpu);
}

/**
 * npm's lists: of what is allowed, or, with `!`, of what is not.
 * @param {string[] | undefined} list
 * @param {string} value
 */
function allows(list, value) {
  if (list === undefined || list.length === 0) return true;
  if (list.includes(`!${value}`)) return false;
  return list.every((one) => one.startsWith('!')) || list.includes(value);
}
