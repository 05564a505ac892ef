/**
 * What `npm run chart:test` does with the rendered chart, without a cluster: lint, every set of values against the schemas of what a cluster
 * takes, the package, and the suites over what was rendered.
 */
import { spawn } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { IronflowError } from '@ironflow/errors';
import { createScratch } from '@ironflow/testing';
import { cases } from './cases.js';
import { schemaFolder } from './definitions.js';
import { goProgram } from './go-programs.js';
import type { Helm, Values } from './helm.js';
import type { Manifest } from './manifests.js';
import { chartFolder, workspace } from './places.js';
import { runProgram } from './run-program.js';

export interface Check {
  name: string;
  /** Answers with what there is to tell; throws with what is wrong. */
  run: (say: (line: string) => void) => Promise<string>;
}

export function chartChecks(helm: Helm): Check[] {
  const named = Object.entries<Values>(cases);
  return [
    {
      name: 'helm lint --strict',
      run: async () => {
        for (const [, values] of named) await helm.lint(values);
        return `${named.length} sets of values`;
      },
    },
    {
      name: 'nothing in what is rendered is unknown to Kubernetes, KEDA, Prometheus’ operator, Gateway API or cert-manager',
      run: (say) => checkSchemas(helm, say),
    },
    { name: 'the package has the alerts and dashboards that it links to', run: () => checkPackage(helm) },
    { name: 'the suites over what is rendered', run: runSuites },
  ];
}

async function checkSchemas(helm: Helm, say: (line: string) => void): Promise<string> {
  const folder = await schemaFolder(say);
  const program = await goProgram('kubeconform', say);
  const location = `${folder}/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json`;
  const judge = (manifests: readonly Manifest[]): Promise<string> =>
    runProgram(program, {
      args: ['-strict', '-schema-location', location],
      input: manifests.map((manifest) => JSON.stringify(manifest)).join('\n---\n'),
    });
  const named = Object.entries<Values>(cases);
  let objects = 0;
  for (const [name, values] of named) {
    const manifests = await helm.template(values);
    objects += manifests.length;
    await judge(manifests).catch((error: Error) => {
      throw new IronflowError('invalid', 'manifest_invalid', `${name}: ${error.message}`);
    });
    await requireRefusal(manifests, judge);
  }
  return `${objects} objects of ${named.length} sets of values`;
}

/** A judge that takes everything would be none: each kind with a field too many has to be refused. */
async function requireRefusal(
  manifests: readonly Manifest[],
  judge: (manifests: readonly Manifest[]) => Promise<string>,
): Promise<void> {
  const kinds = new Map(manifests.map((manifest) => [manifest.kind, manifest]));
  for (const manifest of kinds.values()) {
    if (manifest.spec === undefined) continue;
    const wrong = { ...manifest, spec: { ...manifest.spec, unknownField: true } };
    const isTaken = await judge([wrong]).then(
      () => true,
      () => false,
    );
    if (isTaken) throw new Error(`the schema of ${manifest.kind} takes fields that it does not know`);
  }
}

async function checkPackage(helm: Helm): Promise<string> {
  const scratch = await createScratch('chart-package');
  try {
    await helm.run(['package', chartFolder, '--destination', scratch.path]);
    await mkdir(scratch.file('unpacked'));
    await runProgram('sh', {
      args: ['-c', 'tar --extract --gzip --file "$1"/*.tgz --directory "$1/unpacked"', 'sh', scratch.path],
    });
    const files = (await runProgram('find', { args: [scratch.file('unpacked'), '-type', 'f'] })).split('\n');
    const isIn = (pattern: RegExp): boolean => files.some((file) => pattern.test(file));
    for (const pattern of [/files\/prometheus\/rules\.yaml$/, /files\/grafana\/.+\.json$/]) {
      if (!isIn(pattern)) throw new Error(`the package has no file ${pattern.source}`);
    }
    return `${files.length - 1} files`;
  } finally {
    await rm(scratch.path, { recursive: true });
  }
}

async function runSuites(): Promise<string> {
  const jest = join(workspace, 'node_modules/jest/bin/jest.js');
  const config = join(workspace, 'tools/chart/jest.rendered.config.mjs');
  const args = ['--experimental-vm-modules', '--no-warnings', jest, '--config', config, '--runInBand'];
  const child = spawn(process.execPath, args, {
    cwd: join(workspace, 'tools/chart'),
    // Its report goes where progress goes: standard output is for the result.
    stdio: ['ignore', 2, 2],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  if (code !== 0) throw new Error('a suite failed; its report is above');
  return 'passed';
}
