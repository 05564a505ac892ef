/**
 * A real control plane on this machine: etcd, Kubernetes' API with admission, its controllers and its scheduler; and nodes that kwok plays.
 * Nothing runs in their pods: a pod is ready as soon as it is scheduled, and a Job's is done at once. It listens on loopback alone.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { eventually, freePorts, startServerProcess } from '@ironflow/testing';
import type { Scratch, ServerProcess } from '@ironflow/testing';
import { goProgram } from '../go-programs.js';
import type { GoProgramName } from '../go-programs.js';
import { createApiClient } from './api-client.js';
import type { ApiClient } from './api-client.js';
import { playStages } from './stages.js';

export interface ControlPlane {
  api: ApiClient;
  kubeconfig: string;
  stop(): Promise<void>;
}

const readyWithinMs = 60_000;
const stopPatienceMs = 5_000;

export async function startControlPlane(
  scratch: Scratch,
  say: (line: string) => void,
): Promise<ControlPlane> {
  const names = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kwok'] as const;
  const programs = new Map<GoProgramName, string>();
  for (const name of names) programs.set(name, await goProgram(name, say));
  const running: ServerProcess[] = [];
  const start = async (name: (typeof names)[number], args: string[]): Promise<ServerProcess> => {
    const process = await startServerProcess({ command: [programs.get(name)!, ...args] });
    running.push(process);
    return process;
  };
  const stop = async (): Promise<void> => {
    for (const process of running.splice(0).reverse()) await process.stop('SIGTERM', stopPatienceMs);
  };
  try {
    return { ...(await startParts(scratch, start)), stop };
  } catch (error) {
    const last = running.at(-1)?.recentOutput() ?? '';
    await stop();
    throw new Error(`the control plane did not start: ${String(error)}\n${last}`, { cause: error });
  }
}

type Start = (
  name: 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler' | 'kwok',
  args: string[],
) => Promise<ServerProcess>;

async function startParts(scratch: Scratch, start: Start): Promise<Omit<ControlPlane, 'stop'>> {
  const [etcdPort = 0, peerPort = 0, port = 0] = await freePorts(3);
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  await start('etcd', [
    `--data-dir=${scratch.file('etcd')}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=default=${peerUrl}`,
    '--log-level=error',
    '--unsafe-no-fsync',
  ]);
  const token = randomBytes(16).toString('hex');
  const keyFile = scratch.file('service-accounts.key');
  const publicFile = scratch.file('service-accounts.pub');
  const tokens = scratch.file('tokens.csv');
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  await writeFile(publicFile, publicKey.export({ type: 'spki', format: 'pem' }));
  await writeFile(tokens, `${token},admin,admin,system:masters\n`, { mode: 0o600 });
  const certificates = scratch.file('certificates');
  const server = await start('kube-apiserver', [
    `--etcd-servers=${etcdUrl}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${port}`,
    `--cert-dir=${certificates}`,
    '--authorization-mode=RBAC',
    `--token-auth-file=${tokens}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${publicFile}`,
    `--service-account-signing-key-file=${keyFile}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--endpoint-reconciler-type=none',
  ]);
  const certificate = `${certificates}/apiserver.crt`;
  const waiting = { timeoutMs: readyWithinMs, intervalMs: 250 };
  const ca = await eventually(() => readFile(certificate, 'utf8'), waiting);
  const api = createApiClient({ port, token, ca });
  await eventually(async () => {
    if (server.exit !== undefined) throw new Error(`kube-apiserver ended: ${server.exit}`);
    const { status } = await api.send('GET', '/readyz');
    if (status !== 200) throw new Error(`/readyz answers ${status}`);
  }, waiting);
  const kubeconfig = scratch.file('kubeconfig');
  await writeFile(kubeconfig, kubeconfigOf({ port, token, certificate }), { mode: 0o600 });
  await start('kube-controller-manager', [
    `--kubeconfig=${kubeconfig}`,
    `--service-account-private-key-file=${keyFile}`,
    `--root-ca-file=${certificate}`,
    '--leader-elect=false',
    '--secure-port=0',
  ]);
  await start('kube-scheduler', [`--kubeconfig=${kubeconfig}`, '--leader-elect=false', '--secure-port=0']);
  const stages = scratch.file('stages.yaml');
  await writeFile(stages, playStages);
  await start('kwok', [
    `--kubeconfig=${kubeconfig}`,
    `--config=${stages}`,
    '--manage-all-nodes=true',
    '--node-lease-duration-seconds=40',
    '--cidr=10.244.0.0/16',
    '--node-ip=127.0.0.1',
  ]);
  return { api, kubeconfig };
}

/** JSON is YAML. */
function kubeconfigOf(options: { port: number; token: string; certificate: string }): string {
  const { port, token, certificate } = options;
  const cluster = { server: `https://127.0.0.1:${port}`, 'certificate-authority': certificate };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'chart', cluster }],
    users: [{ name: 'admin', user: { token } }],
    contexts: [{ name: 'chart', context: { cluster: 'chart', user: 'admin' } }],
    'current-context': 'chart',
  });
}
