// @ts-check
/**
 * Assembles what an image has: `node deploy/assemble.mjs <service|cli> <folder>`. It needs the built workspace and its node_modules, and
 * no network.
 *
 *     main.mjs                             starts the program
 *     services/<service>/, libs/<name>/    as in the workspace: package.json and what was built, without sources and tests
 *     node_modules/                        of others' packages what the program needs at run time, in the versions of package-lock.json
 *
 * The same workspace makes the same tree: bytes, modes and times.
 */
import { existsSync, readFileSync } from 'node:fs';
import { chmod, copyFile, lutimes, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { productionClosure } from './closure.mjs';

const workspace = fileURLToPath(new URL('../', import.meta.url));
/** Of every file and folder: when it was copied says nothing. */
const epoch = new Date(0);
/**
 * Of others' packages: what only compilers and debuggers read, and what Prisma has for databases that are not PostgreSQL, which would be
 * half of an image. Licences stay.
 */
const leftOut = /\.(d\.[cm]?ts|map|tsbuildinfo)$|query_compiler_\w+\.(cockroachdb|mysql|sqlite|sqlserver)\./;

await main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});

/** @param {string[]} args */
async function main([name, target, ...more]) {
  const programs = await listPrograms();
  const names = Object.keys(programs);
  if (name === undefined || target === undefined || more.length > 0) {
    throw new Error(`usage: node deploy/assemble.mjs <${names.join('|')}> <folder>`);
  }
  const program = programs[name];
  if (program === undefined) throw new Error(`there is no program "${name}"; there are ${names.join(', ')}`);
  const folder = resolve(target);
  if (existsSync(folder) && (await readdir(folder)).length > 0) {
    throw new Error(`${folder} is not empty: what is in it would be part of the image`);
  }
  const closure = productionClosure({
    program: program.folder,
    locked: readJson('package-lock.json').packages,
    manifestOf: (place) => readJson(join(place, 'package.json')),
    machine: { os: process.platform, cpu: process.arch },
  });
  for (const place of closure.workspace) await copyOwn(place, folder);
  for (const [place, version] of Object.entries(closure.installed)) {
    await copyInstalled(place, version, folder);
  }
  for (const [place, own] of Object.entries(closure.links))
    await link(join(folder, place), join(folder, own));
  await writeFile(join(folder, 'main.mjs'), `import './${program.folder}/${program.main}';\n`);
  const { files, bytes } = await settle(folder);
  const packages = `${Object.keys(closure.installed).length} packages and ${closure.workspace.length} of the workspace`;
  process.stdout.write(`${name}: ${(bytes / 1024 / 1024).toFixed(1)} MiB, ${files} files, ${packages}\n`);
}

/** @returns {Promise<Record<string, { folder: string, main: string }>>} */
async function listPrograms() {
  const services = (await readdir(join(workspace, 'services'))).sort();
  return {
    ...Object.fromEntries(
      services.map((name) => [name, { folder: `services/${name}`, main: 'dist/main.js' }]),
    ),
    cli: { folder: 'tools/cli', main: 'bin/ironflow.js' },
  };
}

/** @param {string} path */
function readJson(path) {
  return JSON.parse(readFileSync(join(workspace, path), 'utf8'));
}

/**
 * The manifest and what it says under `files`, as npm would pack it. Of `dist` only what was built of a source that is still there.
 * @param {string} place
 * @param {string} folder
 */
async function copyOwn(place, folder) {
  await copy(join(workspace, place, 'package.json'), join(folder, place, 'package.json'));
  for (const part of readJson(join(place, 'package.json')).files ?? ['dist']) {
    const files = part === 'dist' ? await builtFiles(place) : await filesBelow(join(workspace, place, part));
    for (const file of files) await copy(join(workspace, place, part, file), join(folder, place, part, file));
  }
}

/**
 * Each program file with its source map, by which stack traces name the lines of the sources.
 * @param {string} place
 */
async function builtFiles(place) {
  const isSource = (/** @type {string} */ file) =>
    /(?<!\.d|\.test)\.m?ts$/.test(file) && !/^testing\//.test(file);
  const sources = (await filesBelow(join(workspace, place, 'src'))).filter(isSource);
  const built = sources.map((file) => file.replace(/ts$/, 'js'));
  const missing = built.find((file) => !existsSync(join(workspace, place, 'dist', file)));
  if (missing !== undefined) throw new Error(`${place}/dist/${missing} is not there: run npm run build`);
  return built.flatMap((file) => [file, `${file}.map`]);
}

/**
 * @param {string} place
 * @param {string} version
 * @param {string} folder
 */
async function copyInstalled(place, version, folder) {
  const manifest = join(place, 'package.json');
  if (!existsSync(join(workspace, manifest))) throw new Error(`${place} is not installed: run npm ci`);
  const { version: found } = readJson(manifest);
  if (found !== version) {
    throw new Error(`${place} is ${found}, and package-lock.json says ${version}: run npm ci`);
  }
  for (const file of await filesBelow(join(workspace, place))) {
    if (!leftOut.test(file)) await copy(join(workspace, place, file), join(folder, place, file));
  }
}

/**
 * Packages within packages are places of their own.
 * @param {string} folder
 * @returns {Promise<string[]>} relative to it
 */
async function filesBelow(folder) {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries.map(async (entry) => {
      if (entry.isFile()) return [entry.name];
      if (!entry.isDirectory() || entry.name === 'node_modules') return [];
      return (await filesBelow(join(folder, entry.name))).map((file) => `${entry.name}/${file}`);
    }),
  );
  return found.flat();
}

/**
 * @param {string} from
 * @param {string} to
 */
async function copy(from, to) {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
  const isProgram = ((await stat(from)).mode & 0o100) !== 0;
  await chmod(to, isProgram ? 0o755 : 0o644);
}

/**
 * @param {string} at
 * @param {string} target
 */
async function link(at, target) {
  await mkdir(dirname(at), { recursive: true });
  await symlink(relative(dirname(at), target), at);
}

/**
 * What the umask and the clock have left, made the same everywhere.
 * @param {string} folder
 * @returns {Promise<{ files: number, bytes: number }>}
 */
async function settle(folder) {
  let [files, bytes] = [0, 0];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      const below = await settle(path);
      [files, bytes] = [files + below.files, bytes + below.bytes];
      continue;
    }
    if (entry.isFile()) [files, bytes] = [files + 1, bytes + (await stat(path)).size];
    await lutimes(path, epoch, epoch);
  }
  await chmod(join(folder), 0o755);
  await lutimes(folder, epoch, epoch);
  return { files, bytes };
}
