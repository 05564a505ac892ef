/**
 * Makes the tarball that users install: one bundled program, and a package.json generated for it (the one in this folder
 * belongs to the workspace). What few commands load when they need it stays outside, and is no dependency.
 * Writes to `dist/pack/`; prints the path.
 */
import { execFileSync } from 'node:child_process';
import { chmod, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const cli = fileURLToPath(new URL('..', import.meta.url));
const target = join(cli, 'dist', 'pack');
const stage = join(target, 'package');
const program = 'ironflow.js';
/** As in src/installed-parts.ts. */
const loadedLate = [
  '@ironflow/database',
  '@ironflow/installation',
  '@ironflow/nats-accounts',
  '@ironflow/platform',
];

await rm(target, { recursive: true, force: true });
await mkdir(stage, { recursive: true });
const dependencies = await bundle();
await writeManifest();
await cp(join(cli, 'README.md'), join(stage, 'README.md'));
const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', target], { cwd: stage });
// Tools that look for packages here would find two of one name.
await rm(stage, { recursive: true });
process.stdout.write(`${join(target, JSON.parse(packed.toString())[0].filename)}\n`);

/** Answers with what the bundle imports at run time. */
async function bundle() {
  const { metafile } = await build({
    entryPoints: [join(cli, 'src', 'main.ts')],
    outfile: join(stage, program),
    banner: { js: '#!/usr/bin/env node' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['@ironflow/source'],
    external: [...loadedLate, 'commander', 'ws', 'yaml', 'zod'],
    plugins: [withoutSideEffects()],
    legalComments: 'none',
    metafile: true,
  });
  await chmod(join(stage, program), 0o755);
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports);
  const names = imports.map(({ path }) => path).filter((path) => !path.startsWith('node:'));
  return [...new Set(names)].filter((name) => !loadedLate.includes(name)).sort();
}

/** No module of the workspace does anything when it is imported: so what the CLI does not use of the SDK is left out. */
function withoutSideEffects() {
  const isOurs = /^(@ironflow\/|\.\.?\/)/;
  return {
    name: 'without-side-effects',
    setup(builder) {
      builder.onResolve({ filter: isOurs }, async ({ path, pluginData, ...from }) => {
        const isForeign = loadedLate.includes(path) || from.importer.includes('node_modules');
        if (isForeign || pluginData === 'resolving') return undefined;
        const { importer, kind, resolveDir } = from;
        const resolved = await builder.resolve(path, { importer, kind, resolveDir, pluginData: 'resolving' });
        return { ...resolved, sideEffects: false };
      });
    },
  };
}

async function writeManifest() {
  const own = JSON.parse(await readFile(join(cli, 'package.json'), 'utf8'));
  const sdk = JSON.parse(await readFile(join(cli, '..', '..', 'libs', 'sdk', 'package.json'), 'utf8'));
  const versions = { ...sdk.dependencies, ...own.dependencies };
  const manifest = {
    name: own.name,
    version: own.version,
    description: 'The command line of Ironflow: durable, event-driven workflows',
    type: 'module',
    engines: { node: '>=20.19' },
    bin: { ironflow: `./${program}` },
    dependencies: Object.fromEntries(
      dependencies.map((name) => [name, `^${versions[name].replace(/^\^/, '')}`]),
    ),
  };
  await writeFile(join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}
