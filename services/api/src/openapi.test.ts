import { describe, expect, test } from '@jest/globals';
import { routes } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import { describeOpenapi } from './openapi.js';

interface Operation {
  operationId: string;
  parameters: { name: string; in: string; required: boolean; schema: Record<string, unknown> }[];
  requestBody?: { required: boolean; content: Record<string, { schema: Record<string, unknown> }> };
  description?: string;
  responses: Record<string, { content?: Record<string, unknown>; $ref?: string }>;
  security: unknown[];
}

const description = describeOpenapi({ version: '1.2.3' }) as {
  openapi: string;
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
  components: Record<string, Record<string, unknown>>;
};

test('the description is OpenAPI 3.1 of this version', () => {
  expect(description).toMatchObject({ openapi: '3.1.0', info: { version: '1.2.3' } });
});

describe.each(Object.entries<Route>(routes))('%s', (operationId, route) => {
  const operation = description.paths[route.path.replace(/:(\w+)/g, '{$1}')]![route.method.toLowerCase()]!;

  test('is described once, with every parameter of its path', () => {
    expect(operation.operationId).toBe(operationId);
    const inPath = operation.parameters.filter((parameter) => parameter.in === 'path');
    expect(inPath.map(({ name }) => `:${name}`)).toEqual(route.path.match(/:\w+/g) ?? []);
    expect(inPath.every(({ required }) => required)).toBe(true);
  });

  test('says whether it takes a key', () => {
    expect(operation.security).toHaveLength(route.role === 'none' ? 0 : 1);
  });

  test('says the scope that a key with scopes needs; only whose key it is, any may ask', () => {
    const isUnnarrowed = route.role === 'none' || route.role === 'operator';
    expect(route.scope === undefined).toBe(isUnnarrowed || operationId === 'getIdentity');
    if (route.scope !== undefined) expect(operation.description).toContain(`\`${route.scope}\``);
  });

  test('says what is refused: another media type where there is a body, and its own errors', () => {
    expect('415' in operation.responses).toBe(route.body !== undefined);
    for (const code of route.errors ?? []) expect(operation.description).toContain(`\`${code}\``);
  });

  test('answers something', () => {
    const statuses = Object.keys(operation.responses);
    expect(statuses).toContain('400');
    expect(statuses.some((status) => status.startsWith('2'))).toBe(true);
  });
});

test('what a route takes is described as it is sent: defaults need not be, and a wait is text', () => {
  const { parameters } = description.paths['/v1/runs']!['get']!;
  expect(parameters.find(({ name }) => name === 'limit')).toMatchObject({
    required: false,
    schema: { default: 50 },
  });
  const wait = description.paths['/v1/events']!['post']!.parameters.find(({ name }) => name === 'wait');
  expect(wait).toMatchObject({ in: 'query', required: false, schema: { type: 'string' } });
});

test('a rerun needs no body, and whoever has a key may be refused for asking too often', () => {
  const rerun = description.paths['/v1/runs/{id}/rerun']!['post']!;
  expect(rerun.requestBody!.required).toBe(false);
  expect(rerun.responses).toHaveProperty('429');
  expect(description.paths['/v1/openapi.json']!['get']!.responses).not.toHaveProperty('429');
  const bulk = description.paths['/v1/runs/rerun']!['post']!;
  expect(bulk.requestBody!.required).toBe(true);
  expect(bulk.responses).toHaveProperty('429');
  const replay = description.paths['/v1/dead-letters/{id}/replay']!['post']!;
  expect(replay.responses).toHaveProperty('409');
  const replays = description.paths['/v1/dead-letters/replay']!['post']!;
  expect(Object.keys(replays.responses)).toEqual(expect.arrayContaining(['200', '202', '429']));
});

test('every reference leads somewhere', () => {
  const references = JSON.stringify(description).match(/"\$ref":"[^"]+"/g) ?? [];
  expect(references.length).toBeGreaterThan(0);
  for (const reference of references) {
    const [, section, group, name] = /#\/(\w+)\/(\w+)\/(\w+)/.exec(reference) ?? [];
    expect(section).toBe('components');
    expect(description.components[group!]).toHaveProperty(name!);
  }
});

test('a reused idempotency key is a conflict, and what a double does to numbers is said', () => {
  const emit = description.paths['/v1/events']!['post']!;
  expect(emit.responses).toHaveProperty('409');
  expect(JSON.stringify(emit.requestBody)).toContain('IEEE 754');
});

test('a webhook may be taken before, be forged, collide or be too large, and a source may be there already', () => {
  const receive = description.paths['/v1/hooks/{address}']!['post']!;
  const statuses = ['200', '202', '400', '401', '404', '409', '413', '429', '503'];
  expect(Object.keys(receive.responses).sort()).toEqual(statuses);
  expect(description.paths['/v1/webhooks']!['post']!.responses).toHaveProperty('409');
});
