/** The configurations of deploy/nats, on real servers: only their addresses and folders are those of this machine. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect as connectByTls } from 'node:tls';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import { initNats } from '@ironflow/nats-accounts';
import { subjects } from '@ironflow/schema';
import {
  createScratch,
  eventually,
  freePorts,
  natsServerProgram,
  startServerProcess,
} from '@ironflow/testing';
import type { Scratch, ServerProcess } from '@ironflow/testing';
import { createCertificate } from '@ironflow/testing/certificates';
import { readDeployed } from './files-of-deploy.js';

interface Node {
  port: number;
  routePort: number;
  monitor: string;
  /** Starts it, again after it has ended. */
  start(): Promise<ServerProcess>;
}

const undo: (() => unknown)[] = [];
let scratch: Scratch;
let tls: Awaited<ReturnType<typeof createCertificate>>;
let operator: Awaited<ReturnType<typeof initNats>>;

beforeAll(async () => {
  scratch = await createScratch('nats-configuration');
  undo.push(() => scratch.remove());
  tls = await createCertificate();
  undo.push(() => rm(tls.folder, { recursive: true }));
  operator = await initNats({ folder: scratch.file('operator'), name: 'test', accountsFolder: './accounts' });
});
afterAll(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
}, 60_000);

/** As many servers of one configuration as there are names, each with the files that it is given. */
async function createNodes(file: string, names: string[]): Promise<Node[]> {
  const ports = await freePorts(names.length * 3);
  const portsOf = (index: number) => ports.slice(index * 3, index * 3 + 3) as [number, number, number];
  return Promise.all(
    names.map(async (name, index) => {
      const folder = scratch.file(name);
      const [port, monitor, cluster] = portsOf(index);
      const adapt = (text: string): string =>
        names
          .reduce(
            (adapted, other, at) => adapted.replaceAll(`${other}:6222`, `127.0.0.1:${portsOf(at)[2]}`),
            text,
          )
          .replaceAll('0.0.0.0:4222', `127.0.0.1:${port}`)
          .replaceAll('127.0.0.1:8222', `127.0.0.1:${monitor}`)
          .replaceAll('0.0.0.0:6222', `127.0.0.1:${cluster}`)
          .replaceAll('"/data/', `"${folder}/data/`)
          .replaceAll('/etc/nats/tls/tls.crt', tls.certFile)
          .replaceAll('/etc/nats/tls/tls.key', tls.keyFile)
          .replaceAll('/etc/nats/tls/ca.crt', tls.certFile)
          .replaceAll('../operator/operator.conf', '../../operator/operator.conf');
      const config = join(folder, 'config');
      await mkdir(config, { recursive: true });
      for (const part of ['common.conf', file]) {
        await writeFile(join(config, part), adapt(readDeployed(`nats/${part}`)));
      }
      const start = async (): Promise<ServerProcess> => {
        const server = await startServerProcess({
          command: ['env', '-C', folder, await natsServerProgram(), '--config', join(config, file)],
          env: { NATS_SERVER_NAME: name, NATS_STORAGE: '8GB' },
        });
        undo.push(() => server.kill());
        return server;
      };
      return { port, routePort: cluster, monitor: `http://127.0.0.1:${monitor}`, start };
    }),
  );
}

const isHealthy = ({ monitor }: Node) =>
  eventually(
    async () => {
      const answer = await fetch(`${monitor}/healthz`);
      if (!answer.ok) throw new Error(await answer.text());
    },
    { timeoutMs: 30_000, intervalMs: 100 },
  );

const monitored = async ({ monitor }: Node, path: string): Promise<Record<string, unknown>> =>
  (await (await fetch(`${monitor}${path}`)).json()) as Record<string, unknown>;

async function connect(
  nodes: Node[],
  { replicas, caFile = tls.certFile }: { replicas: number; caFile?: string },
) {
  const jetstream = await connectJetStream({
    url: nodes.map(({ port }) => `tls://127.0.0.1:${port}`).join(','),
    tls: { caFile },
    credsFile: operator.platformCreds,
    name: 'test',
    replicas,
  });
  undo.push(() => jetstream.close());
  return jetstream;
}

const publish = (jetstream: Awaited<ReturnType<typeof connect>>, n: number) =>
  jetstream.publisher.publish({
    subject: subjects.event({ project: 'acme', env: 'prod' }, `order.${n}`),
    data: '{}',
  });

test('one server: by TLS alone, with credentials, and what is acknowledged is on the disk', async () => {
  const [node] = await createNodes('single.conf', ['single']);
  await node!.start();
  await isHealthy(node!);
  const varz = await monitored(node!, '/varz');
  expect(varz).toMatchObject({
    server_name: 'single',
    tls_required: true,
    jetstream: { config: { sync_always: true, max_storage: 8 * 1024 ** 3 } },
  });
  const jetstream = await connect([node!], { replicas: 1 });
  expect(await publish(jetstream, 1)).toMatchObject({ kind: 'stored' });
  const elsewhere = await createCertificate();
  undo.push(() => rm(elsewhere.folder, { recursive: true }));
  await expect(connect([node!], { replicas: 1, caFile: elsewhere.certFile })).rejects.toThrow(
    /cannot connect/,
  );
}, 60_000);

test('three servers: streams of three replicas outlive each of them, and a stranger does not join', async () => {
  const nodes = await createNodes('cluster.conf', ['nats-1', 'nats-2', 'nats-3']);
  const servers = await Promise.all(nodes.map((node) => node.start()));
  await Promise.all(nodes.map(isHealthy));
  const jetstream = await connect(nodes, { replicas: 3 });
  for (const [index, server] of servers.entries()) {
    expect(await publish(jetstream, index)).toMatchObject({ kind: 'stored' });
    await server.kill();
    await eventually(
      async () => expect(await publish(jetstream, index + 10)).toMatchObject({ kind: 'stored' }),
      {
        timeoutMs: 20_000,
        intervalMs: 250,
      },
    );
    await nodes[index]!.start();
    await isHealthy(nodes[index]!);
  }
  expect((await jetstream.states.stream('EVENTS')).messages).toBeGreaterThanOrEqual(6);
  const stranger = await createCertificate();
  undo.push(() => rm(stranger.folder, { recursive: true }));
  expect(await saidToServer(nodes[0]!, tls)).toMatch(/^INFO /);
  expect(await saidToServer(nodes[0]!, stranger)).toBe('');
}, 120_000);

/** What a server says first to who comes as one of its cluster, with a certificate. */
async function saidToServer({ routePort }: Node, { certFile, keyFile }: typeof tls): Promise<string> {
  const [cert, key] = [await readFile(certFile), await readFile(keyFile)];
  return new Promise((resolve) => {
    const socket = connectByTls({ host: '127.0.0.1', port: routePort, cert, key, ca: tls.cert });
    socket.once('data', (chunk: Buffer) => {
      resolve(chunk.toString());
      socket.destroy();
    });
    socket.once('error', () => resolve(''));
    socket.once('close', () => resolve(''));
  });
}
