/**
 * The programs that the chart is tried with, compiled by Go from its modules, whose checksums it verifies. Each is made once and then kept in
 * the cache; a version is part of its name there.
 */
import { access, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { IronflowError } from '@ironflow/errors';
import { cacheFolder } from './places.js';
import { isMissing, runProgram } from './run-program.js';

export const kubernetesVersion = '1.36.4';

interface GoProgram {
  module: string;
  version: string;
  /** Below the module. */
  package: string;
  /**
   * Built from a module of ours that requires it: `go install` takes none whose go.mod replaces others. With `staging`, modules that it
   * requires as v0.0.0 are those of its own release.
   */
  within?: 'own-module' | 'own-module-staging';
  /** For the linker. */
  stamp?: string;
}

// A server that does not say its version says v0.0.0, which no chart's kubeVersion takes.
const kubernetes = {
  module: 'k8s.io/kubernetes',
  version: kubernetesVersion,
  within: 'own-module-staging',
  stamp: `-X k8s.io/component-base/version.gitVersion=v${kubernetesVersion} -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${kubernetesVersion.split('.')[1]}`,
} as const;

export const goPrograms = {
  helm: { module: 'helm.sh/helm/v4', version: '4.2.4', package: 'cmd/helm' },
  kubeconform: { module: 'github.com/yannh/kubeconform', version: '0.8.0', package: 'cmd/kubeconform' },
  'kube-apiserver': { ...kubernetes, package: 'cmd/kube-apiserver' },
  'kube-controller-manager': { ...kubernetes, package: 'cmd/kube-controller-manager' },
  'kube-scheduler': { ...kubernetes, package: 'cmd/kube-scheduler' },
  etcd: { module: 'go.etcd.io/etcd/server/v3', version: '3.6.5', package: '', within: 'own-module' },
  kwok: { module: 'sigs.k8s.io/kwok', version: '0.7.0', package: 'cmd/kwok' },
} as const satisfies Record<string, GoProgram>;

export type GoProgramName = keyof typeof goPrograms;

/** The path of the program. `say` hears of what takes long. */
export async function goProgram(name: GoProgramName, say: (line: string) => void): Promise<string> {
  const program: GoProgram = goPrograms[name];
  const folder = join(cacheFolder(), 'bin');
  const path = join(folder, `${name}-${program.version}`);
  if (await exists(path)) return path;
  say(`${name} ${program.version} is compiled; it is kept in ${folder}`);
  const scratch = join(cacheFolder(), `${name}.${process.pid}`);
  await mkdir(scratch, { recursive: true });
  await mkdir(folder, { recursive: true });
  try {
    const made =
      program.within === undefined ? await installed(program, scratch) : await built(program, scratch);
    // Whoever looks meanwhile sees a whole program or none.
    await rename(made, path);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return path;
}

/** Where the sources of a module are, fetched if need be. */
export async function goModuleFolder(module: string, version: string): Promise<string> {
  return (await downloaded(module, version)).Dir;
}

/** Where no other module is, whose requirements would count. */
async function downloaded(module: string, version: string): Promise<{ Dir: string; GoMod: string }> {
  const answer = await go(['mod', 'download', '-json', `${module}@v${version}`], cacheFolder());
  return JSON.parse(answer) as { Dir: string; GoMod: string };
}

async function installed(program: GoProgram, scratch: string): Promise<string> {
  const target = `${program.module}/${program.package}`;
  await go(['install', '-trimpath', `${target}@v${program.version}`], scratch, { GOBIN: scratch });
  return join(scratch, basename(target));
}

async function built(program: GoProgram, scratch: string): Promise<string> {
  const { module, version, stamp = '' } = program;
  await writeFile(join(scratch, 'go.mod'), 'module ironflow.local/chart\n');
  await go(['mod', 'edit', `-require=${module}@v${version}`], scratch);
  for (const replaced of program.within === 'own-module-staging' ? await stagingOf(program) : []) {
    await go(['mod', 'edit', `-replace=${replaced}`], scratch);
  }
  const target = program.package === '' ? module : `${module}/${program.package}`;
  await go(['get', `${target}@v${version}`], scratch);
  const out = join(scratch, 'program');
  await go(['build', '-trimpath', `-ldflags=-s -w ${stamp}`, '-o', out, target], scratch);
  return out;
}

/** Kubernetes 1.x.y requires its own parts as v0.0.0 and means v0.x.y. */
async function stagingOf({ module, version }: GoProgram): Promise<string[]> {
  const { GoMod } = await downloaded(module, version);
  const required = await go(['mod', 'edit', '-json', GoMod], cacheFolder());
  const { Require } = JSON.parse(required) as { Require: { Path: string; Version: string }[] };
  return Require.filter(({ Version }) => Version === 'v0.0.0').map(
    ({ Path }) => `${Path}=${Path}@v0.${version.slice(version.indexOf('.') + 1)}`,
  );
}

async function go(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  await mkdir(cwd, { recursive: true });
  // auto: an older go fetches the one that the module asks for. No cgo: then no C compiler is needed either.
  const settings = { GOTOOLCHAIN: 'auto', CGO_ENABLED: '0', GOWORK: 'off', GOFLAGS: '', ...env };
  try {
    return await runProgram('go', { args, cwd, env: settings });
  } catch (error) {
    if (!isMissing(error)) throw error;
    const message =
      'Go is needed to compile Helm and what the chart is tried with: install it, 1.24 or newer, so that `go` is on the PATH';
    throw new IronflowError('unavailable', 'go_missing', message, { cause: error });
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
