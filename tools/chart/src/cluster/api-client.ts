/** The API of a cluster, as far as it is needed here: objects as JSON, and what happens to them in the order it happened. */
import { request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import type { Manifest } from '../manifests.js';

export interface ClusterObject extends Manifest {
  metadata: Manifest['metadata'] & {
    uid: string;
    resourceVersion: string;
    generation?: number;
    deletionTimestamp?: string;
    ownerReferences?: { kind: string; name: string }[];
  };
  status?: Record<string, unknown>;
}

export interface Answer {
  status: number;
  body: unknown;
  /** What the API lets pass and does not like. */
  warnings: string[];
}

export interface Change {
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: ClusterObject;
}

export interface ApiClient {
  send(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<Answer>;
  /** Rejects with what the API says. */
  create(path: string, object: object): Promise<void>;
  list(path: string): Promise<ClusterObject[]>;
  /** Where objects of a kind are; `namespace` counts for those that have one. */
  pathOf(object: Pick<Manifest, 'apiVersion' | 'kind'>, namespace: string): Promise<string>;
  /** From now on, until it is stopped. */
  watch(path: string, onChange: (change: Change) => void): Promise<() => void>;
}

export interface ApiAddress {
  port: number;
  token: string;
  /** In PEM. */
  ca: string;
}

interface ResourceList {
  resources: { name: string; kind: string; namespaced: boolean }[];
}

export function createApiClient(address: ApiAddress): ApiClient {
  const groups = new Map<string, Promise<ResourceList>>();

  async function send(method: string, path: string, body?: object): Promise<Answer> {
    const response = await open(address, method, path, body);
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text += chunk as string;
    const warning = response.headers['warning'];
    return {
      status: response.statusCode ?? 0,
      body: text.startsWith('{') ? (JSON.parse(text) as unknown) : text,
      warnings: warning === undefined ? [] : [warning].flat(),
    };
  }

  async function expectOk(answered: Promise<Answer>, what: string): Promise<unknown> {
    const { status, body } = await answered;
    if (status >= 200 && status < 300) return body;
    throw new Error(`${what}: ${status} ${(body as { message?: string }).message ?? String(body)}`);
  }

  const client: ApiClient = {
    send,
    create: async (path, object) =>
      void (await expectOk(send('POST', path, object), `${(object as Manifest).kind} on ${path}`)),
    list: async (path) => ((await expectOk(send('GET', path), path)) as { items: ClusterObject[] }).items,
    pathOf: async ({ apiVersion, kind }, namespace) => {
      const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
      const known = groups.get(root) ?? (expectOk(send('GET', root), root) as Promise<ResourceList>);
      groups.set(root, known);
      const resource = (await known).resources.find((one) => one.kind === kind && !one.name.includes('/'));
      if (resource === undefined) throw new Error(`${apiVersion} has no ${kind}`);
      return `${root}${resource.namespaced ? `/namespaces/${namespace}` : ''}/${resource.name}`;
    },
    watch: async (path, onChange) => {
      const { metadata } = (await expectOk(send('GET', `${path}?limit=1`), path)) as {
        metadata: { resourceVersion: string };
      };
      const from = `${path}?watch=true&resourceVersion=${metadata.resourceVersion}`;
      const response = await open(address, 'GET', from);
      createInterface({ input: response }).on('line', (line) => onChange(JSON.parse(line) as Change));
      return () => response.destroy();
    },
  };
  return client;
}

function open(
  { port, token, ca }: ApiAddress,
  method: string,
  path: string,
  body?: object,
): Promise<IncomingMessage> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...{ host: '127.0.0.1', port, path, method, ca },
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      },
      resolve,
    );
    sent.once('error', reject);
    sent.end(text);
  });
}
