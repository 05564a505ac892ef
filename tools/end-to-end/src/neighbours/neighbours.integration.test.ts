/**
 * A neighbour with a key of its own tries what another environment has: every route of the platform's own description, so that a new one cannot be
 * forgotten, and every message of a worker's socket.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { WebSocket } from 'ws';
import { exportedTables, protocolVersion, routes, workerMessageSchema, workerPath } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from '../platform-under-test.js';
import type { PlatformUnderTest, Tenant } from '../platform-under-test.js';
import { createVictim, mark } from './victim.js';
import type { Victim } from './victim.js';

interface Operation {
  method: string;
  path: string;
  parameters: { name: string; in: 'path' | 'query'; schema: { type?: string } }[];
  isPublic: boolean;
  /** It takes a key of an operator. */
  isOperators: boolean;
}

/** Of routes that ask for one: as small as they take. */
const bodies: Record<string, unknown> = {
  'POST /v1/events': { name: 'neighbours.own' },
  'POST /v1/runs/{id}/signals': { name: 'second' },
  'POST /v1/runs/{id}/approval-links': { name: 'second' },
  'POST /v1/runs/{id}/approvals': { name: 'second', approved: true },
  'POST /v1/runs/rerun': { status: 'failed', from: '2020-01-01T00:00:00Z' },
  'POST /v1/functions/{id}/replay': { event: 'victims-own.asked', from: '2020-01-01T00:00:00Z' },
  'POST /v1/secrets/values': { names: ['VICTIMS_OWN'] },
  'PUT /v1/functions/{id}/limits': { concurrency: 1 },
  'PUT /v1/kv/{bucket}/keys/{key}': { value: 1 },
  'POST /v1/schedules/{id}/backfill': { from: '2020-01-01T00:00:00Z', to: '2021-01-01T00:00:00Z' },
};

/** What is by design whoever asks: his own is made under that name, or the word in the path is the credential. */
const namesOfOnesOwn = new Set([
  'PUT /v1/apps/{id}',
  'PUT /v1/secrets/{name}',
  'PUT /v1/config/{name}',
  'PUT /v1/kv/{bucket}',
  'POST /v1/topics/{topic}/messages',
  'GET /v1/topics/{topic}/messages',
  'GET /v1/export/{table}',
]);

let world: PlatformUnderTest;
let victim: Victim;
let neighbour: Tenant;
let before: Record<string, string>;

beforeAll(async () => {
  world = await startPlatformUnderTest();
  victim = await createVictim(world);
  neighbour = await world.createTenant('neighbour', 'prod');
  before = await victim.snapshot();
}, 120_000);
afterAll(() => world?.stop(), 30_000);

async function operations(): Promise<Operation[]> {
  const answer = await fetch(`${world.platform.url}/v1/openapi.json`);
  const { paths } = (await answer.json()) as {
    paths: Record<string, Record<string, { parameters: Operation['parameters']; security: object[] }>>;
  };
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { parameters, security }]) => ({
      ...{ path, parameters, method: method.toUpperCase(), isPublic: security.length === 0 },
      isOperators: security.some((scheme) => 'operatorKey' in scheme),
    })),
  );
}

interface Answered {
  status: number;
  text: string;
}

async function ask(method: string, path: string, body: unknown): Promise<Answered> {
  const leave = new AbortController();
  const answer = await fetch(`${world.platform.url}${path}`, {
    method,
    signal: leave.signal,
    headers: {
      authorization: `Bearer ${neighbour.apiKey}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const isStream = answer.headers.get('content-type')?.startsWith('text/event-stream') === true;
  const text = isStream ? '' : await answer.text();
  leave.abort();
  return { status: answer.status, text };
}

/** Without what is of the one request: its id, and what it asked for. */
function comparable({ status, text }: Answered, asked: string): string {
  return `${status} ${text.replace(/"(requestId|request_id)":"[^"]*"/, '').replaceAll(asked, '…')}`;
}

function marksIn(text: string, asked: string): string[] {
  const rest = text.replaceAll(asked, '');
  return victim.marks.filter((mark) => mark !== asked && rest.includes(mark));
}

const bodyOf = ({ method, path }: Operation): unknown =>
  bodies[`${method} ${path}`] ?? (method === 'GET' || method === 'DELETE' ? undefined : {});

describe('by HTTP', () => {
  test('an id or name of the other environment is answered as one that is nobody’s, on every route that takes one', async () => {
    const tried: string[] = [];
    for (const operation of await operations()) {
      const { method, path, isPublic, isOperators } = operation;
      const name = `${method} ${path}`;
      if (!path.includes('{') || isPublic || isOperators || namesOfOnesOwn.has(name)) continue;
      const place = victim.places[path.split('/')[2]!];
      if (place === undefined) throw new Error(`${name}: a victim has to have one of these (victim.ts)`);
      const body = bodyOf(operation);
      const [own, nobodys] = await Promise.all(
        [place.own, place.nobodys].map((id) =>
          // What a path names below is there.
          ask(method, path.replace(/\{\w+\}/, encodeURIComponent(id)).replace(/\{\w+\}/, 'first'), body),
        ),
      );
      expect([name, own!.status, own!.text]).toEqual([name, 404, expect.any(String)]);
      expect([name, comparable(own!, place.own)]).toEqual([name, comparable(nobodys!, place.nobodys)]);
      expect([name, marksIn(own!.text, place.own)]).toEqual([name, []]);
      tried.push(name);
    }
    const withId = Object.values(routes).filter(
      ({ path, role }) => path.includes(':') && role !== 'none' && role !== 'operator',
    );
    expect(tried).toHaveLength(withId.length - namesOfOnesOwn.size);
    expect(await victim.snapshot()).toEqual(before);
  });

  test('an export has nothing of the other environment, wherever it is asked to begin', async () => {
    const place = (...values: unknown[]) => Buffer.from(JSON.stringify(values)).toString('base64url');
    const run = victim.places['runs']!.own;
    for (const table of exportedTables) {
      for (const query of ['', `?cursor=${place(run)}`, `?cursor=${place(run, '')}`]) {
        const { status, text } = await ask('GET', `/v1/export/${table}${query}`, undefined);
        // Where the place is none of this table it is refused.
        expect([table, query === '' ? status : [200, 400].includes(status)]).toEqual([
          table,
          query === '' ? 200 : true,
        ]);
        expect([table, marksIn(text, run)]).toEqual([table, []]);
      }
    }
    expect(await victim.snapshot()).toEqual(before);
  });

  test('what is for operators is refused alike, whatever environment is named', async () => {
    const tried: string[] = [];
    for (const operation of (await operations()).filter(({ isOperators }) => isOperators)) {
      const { method, path } = operation;
      const named = (place: { project: string; env: string }): string =>
        path
          .replace('{project}', place.project)
          .replace('{env}', place.env)
          .replace('{id}', victim.places.runs!.own);
      const own = await ask(method, named({ project: mark, env: 'prod' }), bodyOf(operation));
      const nobodys = await ask(method, named({ project: 'nobodys', env: 'nobodys' }), bodyOf(operation));
      expect([method, path, own.status]).toEqual([method, path, 403]);
      expect(comparable(own, ' ')).toBe(comparable(nobodys, ' '));
      tried.push(`${method} ${path}`);
    }
    expect(tried.length).toBeGreaterThan(8);
    expect(await victim.snapshot()).toEqual(before);
  });

  test('wildcards and paths in place of an id reach nothing', async () => {
    const words = [
      '*',
      '>',
      '%',
      '_',
      '.*',
      '..',
      '../runs',
      `${victim.tenant.environmentId}.*`,
      '%00',
      "' or 1=1 --",
      '{}',
    ];
    for (const operation of await operations()) {
      const { method, path, isPublic } = operation;
      if (!path.includes('{') || isPublic || namesOfOnesOwn.has(`${method} ${path}`)) continue;
      for (const word of words) {
        const asked = path.replace(/\{\w+\}/, encodeURIComponent(word));
        // Of two dots within a path clients make another path themselves: that is another route.
        if (new URL(asked, world.platform.url).pathname !== asked) continue;
        const answer = await ask(method, asked, bodyOf(operation));
        expect([method, path, word, answer.status >= 400 && answer.status < 500]).toEqual([
          method,
          path,
          word,
          true,
        ]);
        expect(marksIn(answer.text, word)).toEqual([]);
      }
    }
    expect(await victim.snapshot()).toEqual(before);
  });

  test('no list and no filter shows anything of it, whatever it is asked for', async () => {
    const values = [
      ...new Set(Object.values(victim.places).map(({ own }) => own)),
      victim.tenant.environmentId,
      '*',
      '>',
      '%',
    ];
    for (const { method, path, parameters } of await operations()) {
      if (method !== 'GET' || path.includes('{')) continue;
      const filters = parameters.filter(
        ({ in: place, schema }) => place === 'query' && schema.type === 'string',
      );
      const queries = [
        '',
        ...filters.flatMap(({ name }) => values.map((value) => `?${name}=${encodeURIComponent(value)}`)),
      ];
      for (const query of queries) {
        const answer = await ask(method, `${path}${query}`, undefined);
        expect([path, query, answer.status < 500]).toEqual([path, query, true]);
        const asked = query === '' ? ' ' : values.find((value) => query.endsWith(encodeURIComponent(value)))!;
        expect([path, query, marksIn(answer.text, asked)]).toEqual([path, query, []]);
      }
    }
  });

  test('what acts on all that a filter finds acts on nothing of it', async () => {
    const functionId = victim.places.functions!.own;
    for (const { method, path } of await operations()) {
      if (method !== 'POST' || path.includes('{')) continue;
      const wide = bodies[`${method} ${path}`] ?? {};
      for (const body of [wide, { ...wide, function: functionId }, { ...wide, functionId, data: {} }]) {
        const answer = await ask(method, path, body);
        expect([method, path, answer.status < 500]).toEqual([method, path, true]);
        expect([method, path, marksIn(answer.text, functionId)]).toEqual([method, path, []]);
      }
    }
    expect(await victim.snapshot()).toEqual(before);
  });

  test('a topic of the same name is another topic', async () => {
    const { own } = victim.places.topics!;
    const heard: string[] = [];
    const leave = new AbortController();
    for (const pattern of [own, '>', '*', '*.topic', `${victim.tenant.environmentId}.>`]) {
      const answer = await fetch(
        `${world.platform.url}/v1/topics/${encodeURIComponent(pattern)}/messages?after=0`,
        {
          headers: { authorization: `Bearer ${neighbour.apiKey}` },
          signal: leave.signal,
        },
      );
      if (!answer.ok) continue;
      void (async () => {
        for await (const chunk of answer.body!) heard.push(Buffer.from(chunk).toString());
      })().catch(() => undefined);
    }
    await ask('POST', `/v1/topics/${own}/messages`, { data: { of: 'the neighbour' } });
    await eventually(() => {
      if (!heard.join('').includes('the neighbour')) throw new Error('nothing is heard yet');
    });
    leave.abort();
    expect(heard.join('')).not.toContain(victim.marks[1]);
    expect(heard.join('')).not.toContain('"mark"');
  });
});

/** What is open between the platform and the neighbour's worker. */
async function openSocket() {
  const socket = new WebSocket(`${world.platform.url.replace('http', 'ws')}${workerPath}`, {
    headers: { authorization: `Bearer ${neighbour.apiKey}` },
  });
  const heard: string[] = [];
  socket.on('message', (data: Buffer) => heard.push(data.toString()));
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await new Promise((resolve) => socket.once('open', resolve));
  return { socket, heard, closed };
}

describe('by a worker’s socket', () => {
  /** Every type of message, about a run of the other environment. */
  const messagesAbout = (runId: string): Record<string, unknown>[] => {
    const lease = { runId, writer: { wake: 1, activation: 1, delivery: 1, executor: 'x' } };
    const step = { id: 'stolen', name: 'stolen', type: 'run', attempt: 1, status: 'completed', output: '1' };
    const byType: Record<string, Record<string, unknown>> = {
      hello: { type: 'hello', v: protocolVersion, sdk: 'x', appId: 'victims-own', slots: 1 },
      record: { type: 'record', ...lease, sequence: 0, records: [step] },
      log: {
        ...{ type: 'log', ...lease },
        lines: [{ sequence: 0, atMs: 1, level: 'info', message: 'stolen' }],
      },
      end: { type: 'end', ...lease, records: [], outcome: { kind: 'completed', output: '"stolen"' } },
      aborted: { type: 'aborted', ...lease },
      drain: { type: 'drain' },
    };
    return workerMessageSchema.options.map(({ shape: { type } }) => {
      const message = byType[type.value];
      if (message === undefined) throw new Error(`no message of type ${type.value} is tried`);
      return message;
    });
  };

  test('no message about a run of the other environment changes it, and its activations go to nobody else', async () => {
    await ask('PUT', '/v1/apps/victims-own', { id: 'victims-own', mode: 'pull', functions: [] });
    const { socket, heard, closed } = await openSocket();
    const [hello, ...others] = messagesAbout(victim.places.runs!.own);
    socket.send(JSON.stringify([hello]));
    await eventually(() => {
      if (!heard.join('').includes('welcome')) throw new Error(`not welcome yet: ${heard.join('')}`);
    });
    for (const message of others) socket.send(JSON.stringify([message]));
    // Of the same app's name, and there is something to do: it is for the environment's own workers.
    await victim.tenant.client.emit({ name: 'victims-own.asked', data: {} });
    await eventually(async () => {
      const { runs } = await victim.tenant.client.runs.list({ status: 'waiting_for_worker' });
      if (runs.length === 0) throw new Error('it does not wait for a worker yet');
    });
    socket.close();
    await closed;
    expect(heard.join('')).not.toContain('activate');
    expect(await victim.tenant.client.runs.get(victim.places.runs!.own)).toMatchObject({
      ...{ status: 'waiting', steps: [{ id: 'first' }, { id: 'second' }] },
    });
  });
});
