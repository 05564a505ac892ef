/**
 * What the API of a cluster takes, fetched as Go modules: Kubernetes' own description, and the definitions of the resources that the chart makes
 * for others.
 */
import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import { goModuleFolder, kubernetesVersion } from './go-programs.js';
import { schemasOfKubernetes, schemasOfResource } from './json-schemas.js';
import type { Schema } from './json-schemas.js';
import { cacheFolder } from './places.js';

interface Source {
  module: string;
  version: string;
  files: readonly string[];
}

const sources: readonly Source[] = [
  {
    module: 'github.com/kedacore/keda/v2',
    version: '2.21.0',
    files: [
      'config/crd/bases/keda.sh_scaledobjects.yaml',
      'config/crd/bases/keda.sh_triggerauthentications.yaml',
    ],
  },
  {
    module: 'github.com/prometheus-operator/prometheus-operator',
    version: '0.85.0',
    files: ['servicemonitors', 'podmonitors', 'prometheusrules'].map(
      (name) => `example/prometheus-operator-crd/monitoring.coreos.com_${name}.yaml`,
    ),
  },
  {
    module: 'sigs.k8s.io/gateway-api',
    version: '1.6.3',
    files: ['httproutes', 'backendtlspolicies'].map(
      (name) => `config/crd/standard/gateway.networking.k8s.io_${name}.yaml`,
    ),
  },
  {
    module: 'github.com/cert-manager/cert-manager',
    version: '1.21.2',
    files: ['deploy/crds/cert-manager.io_certificates.yaml'],
  },
];

/** As they are installed. */
export async function resourceDefinitions(): Promise<string[]> {
  const texts: string[] = [];
  for (const { module, version, files } of sources) {
    const folder = await goModuleFolder(module, version);
    for (const file of files) texts.push(await readFile(join(folder, file), 'utf8'));
  }
  return texts;
}

/** The folder with all schemas. Its name says of what they are made. */
export async function schemaFolder(say: (line: string) => void): Promise<string> {
  const versions = [kubernetesVersion, ...sources.map(({ version }) => version)].join('-');
  const folder = join(cacheFolder(), `schemas-${versions}`);
  const isThere = await access(folder).then(
    () => true,
    () => false,
  );
  if (isThere) return folder;
  say('the descriptions of Kubernetes and of other resources are fetched; they are kept');
  const kubernetes = await goModuleFolder('k8s.io/kubernetes', kubernetesVersion);
  const api = await readFile(join(kubernetes, 'api/openapi-spec/swagger.json'), 'utf8');
  const files = [
    ...schemasOfKubernetes(JSON.parse(api) as { definitions: Record<string, Schema> }),
    ...(await resourceDefinitions()).flatMap((text) =>
      schemasOfResource(parse(text) as Parameters<typeof schemasOfResource>[0]),
    ),
  ];
  const scratch = `${folder}.${process.pid}`;
  for (const { path, schema } of files) {
    await mkdir(dirname(join(scratch, path)), { recursive: true });
    await writeFile(join(scratch, path), JSON.stringify(schema));
  }
  await rm(folder, { recursive: true, force: true });
  await rename(scratch, folder);
  return folder;
}
