/** OpenAPI 3.1 of every public route, made from the table of routes and its Zod schemas. Pure. */
import { errorBodySchema, routes } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import { z } from 'zod';

type Json = Record<string, unknown>;

export function describeOpenapi({ version }: { version: string }): Json {
  const paths: Record<string, Json> = {};
  for (const [operationId, route] of Object.entries<Route>(routes)) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: describeRoute(operationId, route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Ironflow',
      version,
      description: 'Events in, durable runs of functions, their results and timelines out.',
    },
    paths,
    components: {
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'An API key of one environment: `ifk_…`' },
        operatorKey: { type: 'http', scheme: 'bearer', description: 'A key of an operator: `ifo_…`' },
      },
      schemas: { Error: jsonSchema(errorBodySchema, 'output') },
      responses: describeErrors(),
    },
  };
}

function describeRoute(operationId: string, route: Route): Json {
  return {
    operationId,
    summary: route.summary,
    tags: [route.path.split('/')[2]],
    security: securityOf(route),
    ...describeInWords(route),
    parameters: [...describeParameters(route.params, 'path'), ...describeParameters(route.query, 'query')],
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: !route.body.safeParse(undefined).success,
            content: bodyContent(route, jsonSchema(route.body, 'input')),
          },
        }),
    responses: { ...describeAnswers(route), ...describeErrorAnswers(route) },
  };
}

function describeInWords({ role, scope, errors }: Route): Json {
  const sentences = [
    ...accessInWords(role),
    ...(scope === undefined ? [] : [`A key with scopes needs \`${scope}\`.`]),
    ...(errors === undefined
      ? []
      : [`Errors of its own: ${errors.map((code) => `\`${code}\``).join(', ')}.`]),
  ];
  return sentences.length === 0 ? {} : { description: sentences.join(' ') };
}

function securityOf({ role }: Route): Json[] {
  if (role === 'none') return [];
  return role === 'operator' ? [{ operatorKey: [] }] : [{ apiKey: [] }];
}

function accessInWords(role: Route['role']): string[] {
  if (role === 'none') return [];
  return [role === 'operator' ? 'Takes a key of an operator.' : `Takes a key of role \`${role}\` or above.`];
}

function describeParameters(schema: z.ZodObject | undefined, place: 'path' | 'query'): Json[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = jsonSchema(schema, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: place,
    required: required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: rest,
  }));
}

function describeAnswers({ answers, stream, page }: Route): Json {
  if (stream !== undefined) {
    const description = `Server-sent events named \`${stream.event}\`; the data of each is JSON of this schema`;
    return {
      200: { description, content: { 'text/event-stream': { schema: jsonSchema(stream.schema, 'output') } } },
    };
  }
  if (page !== undefined) {
    const content = { 'text/html': { schema: { type: 'string' } } };
    return Object.fromEntries(
      Object.entries(page.statuses).map(([status, description]) => [status, { description, content }]),
    );
  }
  return Object.fromEntries(
    Object.entries(answers).map(([status, { description, schema }]) => [
      status,
      { description, content: jsonContent(jsonSchema(schema, 'output')) },
    ]),
  );
}

const errorAnswers = {
  400: ['Invalid', 'A rule of the input is broken; `field` says where'],
  401: ['Unauthenticated', 'No valid API key; of a webhook, no valid signature'],
  403: ['Forbidden', 'The role or the scopes of the key do not allow this'],
  404: ['NotFound', 'There is nothing of that id in this environment'],
  409: ['Conflict', 'What is there already does not allow this'],
  413: ['TooLarge', 'A size limit is exceeded'],
  415: ['UnsupportedMediaType', 'The body is not sent as application/json'],
  429: ['TooMany', 'Faster than the rate allows; try again after the seconds in `Retry-After`'],
  503: ['Unavailable', 'Try again after the seconds in `Retry-After`'],
} as const satisfies Record<number, readonly [string, string]>;

function describeErrors(): Json {
  const content = jsonContent({ $ref: '#/components/schemas/Error' });
  return Object.fromEntries(
    Object.entries(errorAnswers).map(([status, [name, description]]) => [
      name,
      {
        description,
        content,
        ...(status === '503' || status === '429'
          ? { headers: { 'Retry-After': { schema: { type: 'integer' } } } }
          : {}),
      },
    ]),
  );
}

/** Codes of errors that are answered 409. */
const conflicts =
  /_(taken|exists|reused|ended|active|replayable|decided|expired|mismatch|full)$|^too_many_(?!streams|subscriptions|watches)|^last_admin_key$|^direct_nats_unavailable$/;

function describeErrorAnswers(route: Route): Json {
  const statuses: (keyof typeof errorAnswers)[] = [400, 503];
  if (route.role !== 'none') statuses.push(401, 403, 429);
  else if (route.errors?.includes('signature_invalid')) statuses.push(401);
  if (route.body !== undefined) statuses.push(413, 415);
  else if (route.errors?.includes('body_too_large')) statuses.push(413);
  if (route.errors?.some((code) => code.endsWith('_not_found'))) statuses.push(404);
  if (route.errors?.some((code) => conflicts.test(code))) statuses.push(409);
  if (route.role === 'none' && route.errors?.includes('quota_exceeded')) statuses.push(429);
  return Object.fromEntries(
    statuses.map((status) => [status, { $ref: `#/components/responses/${errorAnswers[status][0]}` }]),
  );
}

function bodyContent({ page }: Route, schema: Json): Json {
  return page === undefined ? jsonContent(schema) : { 'application/x-www-form-urlencoded': { schema } };
}

function jsonContent(schema: Json): Json {
  return { 'application/json': { schema } };
}

/** Bodies and parameters as they are sent, answers as they are received: defaults and transforms differ. */
function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    target: 'draft-2020-12',
  });
  return rest;
}
