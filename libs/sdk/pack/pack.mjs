/**
 * Makes the tarball that tenants install: one module for each entry, type declarations that stand on their own, and a
 * package.json generated for it (the one in this folder belongs to the workspace). Writes to `dist/pack/`; prints the path.
 */
import { execFileSync } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const sdk = fileURLToPath(new URL('..', import.meta.url));
const libs = join(sdk, '..');
const target = join(sdk, 'dist', 'pack');
const stage = join(target, 'package');
/** Workspace packages that go into the tarball; everything else is a dependency of it. */
const inlined = ['schema', 'errors', 'retry-policy', 'collections'];

const typescript = createRequire(import.meta.url).resolve('typescript/bin/tsc');
execFileSync(process.execPath, [typescript, '-b', 'tsconfig.lib.json'], { cwd: sdk, stdio: 'inherit' });
await rm(target, { recursive: true, force: true });
await mkdir(stage, { recursive: true });
await bundle();
await copyDeclarations();
await writeManifest();
await cp(join(sdk, 'README.md'), join(stage, 'README.md'));
const packed = execFileSync('npm', ['pack', '--json', '--pack-destination', target], {
  cwd: stage,
});
// Tools that look for packages here would find two of one name.
await rm(stage, { recursive: true });
process.stdout.write(`${join(target, JSON.parse(packed.toString())[0].filename)}\n`);

/** What several entries need is in a chunk of its own: an error that one makes is an instance of the other's class. */
async function bundle() {
  await build({
    entryPoints: {
      index: join(sdk, 'src', 'index.ts'),
      testing: join(sdk, 'src', 'testing', 'index.ts'),
      outbox: join(sdk, 'src', 'outbox', 'index.ts'),
    },
    outdir: stage,
    bundle: true,
    splitting: true,
    chunkNames: 'chunks/[hash]',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    conditions: ['@ironflow/source'],
    external: ['zod', 'ws'],
    legalComments: 'none',
    sourcemap: true,
    sourcesContent: false,
  });
}

/** Each package's declarations go into a folder of their own; imports between them become relative. */
async function copyDeclarations() {
  const types = join(stage, 'types');
  for (const name of ['sdk', ...inlined]) {
    const from = join(libs, name, 'dist');
    for (const file of await declarationsIn(from)) {
      const to = join(types, name, relative(from, file));
      await mkdir(dirname(to), { recursive: true });
      await writeFile(to, relink(await readFile(file, 'utf8'), { to, types }));
    }
  }
}

async function declarationsIn(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.d.ts') && !entry.name.endsWith('.test.d.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !file.startsWith(target));
}

function relink(text, { to, types }) {
  const linked = text.replace(/(['"])@ironflow\/([a-z-]+)\1/g, (_, quote, name) => {
    if (!inlined.includes(name))
      throw new Error(`${to} needs @ironflow/${name}, which is not in the package`);
    const path = relative(dirname(to), join(types, name, 'index.js'));
    return `${quote}${path.startsWith('.') ? path : `./${path}`}${quote}`;
  });
  return linked.replace(/^\/\/# sourceMappingURL=.*$/m, '');
}

async function writeManifest() {
  const own = JSON.parse(await readFile(join(sdk, 'package.json'), 'utf8'));
  const range = (name) => `^${own.dependencies[name].replace(/^\^/, '')}`;
  const manifest = {
    name: own.name,
    version: own.version,
    description: 'Durable, event-driven functions in TypeScript: the SDK of Ironflow',
    type: 'module',
    engines: { node: '>=20.19' },
    exports: {
      '.': { types: './types/sdk/index.d.ts', default: './index.js' },
      './testing': { types: './types/sdk/testing/index.d.ts', default: './testing.js' },
      './outbox': { types: './types/sdk/outbox/index.d.ts', default: './outbox.js' },
      './package.json': './package.json',
    },
    types: './types/sdk/index.d.ts',
    sideEffects: false,
    dependencies: { ws: range('ws'), zod: range('zod') },
  };
  await writeFile(join(stage, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}
