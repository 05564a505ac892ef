/**
 * What is sent to a route instead of what it asks for: values that have broken servers before, values made from its own schema, and
 * bodies that are none. Pure: a request comes from a seed.
 */
import fc from 'fast-check';

/** The part of JSON Schema that the platform's description uses. */
export interface JsonSchema {
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: boolean | JsonSchema;
  items?: JsonSchema;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  pattern?: string;
  format?: string;
}

export interface FuzzRequest {
  method: string;
  /** With what stands in the path. */
  params: Record<string, string>;
  query: Record<string, string>;
  headers: Record<string, string>;
  body?: { json: unknown } | { bytes: Buffer };
}

const nested = (depth: number): string => `${'[{"a":'.repeat(depth)}1${'}]'.repeat(depth)}`;

/** As text: in paths, queries and as strings in bodies. */
const hostileTexts = [
  '',
  ' ',
  '*',
  '>',
  '%',
  '_',
  '.',
  '..',
  '../../etc/passwd',
  '%2e%2e%2f',
  '\u0000',
  '\ud800',
  '\u202e',
  '🧨',
  'ﬃ',
  "' or 1=1 --",
  '"; drop table runs; --',
  '$(id)',
  '{{7*7}}',
  '<script>',
  '__proto__',
  'constructor',
  'null',
  'NaN',
  '-1',
  '1e309',
  '9007199254740993',
  '99999999999999999999',
  '0x10',
  '2020-02-30T00:00:00Z',
  '275760-09-13T00:00:00.001Z',
  '-271821-04-19T23:59:59.999Z',
  '00000000-0000-0000-0000-000000000000',
  'ffffffff-ffff-7fff-bfff-ffffffffffff',
  'a'.repeat(5_000),
  'a.'.repeat(300),
  '(a+)+$',
];
const hostileValues: unknown[] = [
  null,
  true,
  0,
  -0,
  -1,
  1.5,
  1e308,
  -1e308,
  2 ** 53,
  [],
  {},
  [[]],
  [null],
  { __proto__x: 1 },
  JSON.parse('{"__proto__":{"polluted":true}}'),
  { constructor: { prototype: {} } },
  { toString: 1, valueOf: 1 },
  Array.from({ length: 2_000 }, () => ({})),
  'x'.repeat(300_000),
];

const hostile: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(...hostileTexts),
  fc.constantFrom(...hostileValues),
  fc.jsonValue({ maxDepth: 4 }),
);
const hostileText = fc.oneof(
  fc.constantFrom(...hostileTexts),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
);

/** What a body may be that is no JSON of any schema. */
const brokenBytes: fc.Arbitrary<Buffer> = fc.oneof(
  fc.constantFrom(
    ...[
      '',
      '{',
      '[',
      '{"a":1,}',
      '{"a":1}{"b":2}',
      'undefined',
      '\u0000',
      '{"a":NaN}',
      '{"name":"x","name":"y"}',
    ].map((text) => Buffer.from(text)),
    Buffer.from([0xff, 0xfe, 0x00]),
    Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d]),
    Buffer.from(nested(20_000)),
    Buffer.from(`{"data":${nested(5_000)}}`),
    Buffer.from(`{"data":"${'x'.repeat(900_000)}"}`),
  ),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
);

/** Headers that mean something to servers, with values that mean nothing. Their characters are those that HTTP can carry. */
const strangeHeader: fc.Arbitrary<Record<string, string>> = fc.constantFrom<Record<string, string>>(
  { 'content-type': 'text/plain' },
  { 'content-type': 'application/json; charset=utf-16' },
  { 'content-type': 'application/xml' },
  { 'content-type': '' },
  { 'content-encoding': 'gzip' },
  { accept: 'application/xml' },
  { traceparent: '00-00000000000000000000000000000000-0000000000000000-00' },
  { traceparent: 'x'.repeat(2_000) },
  { 'last-event-id': '-1' },
  { 'last-event-id': '99999999999999999999' },
  { 'x-forwarded-for': '::1, 169.254.169.254' },
  { 'x-http-method-override': 'DELETE' },
  { 'x-request-id': "' or 1=1 --" },
  { authorization: 'Bearer ' },
  { authorization: `Bearer ifk_${'A'.repeat(49)}` },
  { authorization: 'Basic YTpi' },
  { 'accept-encoding': 'br;q=bogus' },
  { range: 'bytes=0-0' },
);

export interface Operation {
  operationId: string;
  method: string;
  /** With `{name}` for parameters. */
  path: string;
  parameters: { name: string; in: 'path' | 'query'; schema: JsonSchema }[];
  bodySchema: JsonSchema | undefined;
  /** The statuses that its description has. */
  statuses: readonly number[];
}

/** A request that is near one that is right. */
export function fuzzed(operation: Operation, right: FuzzRequest): fc.Arbitrary<FuzzRequest> {
  const inQuery = operation.parameters.filter((parameter) => parameter.in === 'query');
  const ways: { weight: number; arbitrary: fc.Arbitrary<FuzzRequest> }[] = [
    { weight: 2, arbitrary: fc.constant(right) },
    {
      weight: 1,
      arbitrary: strangeHeader.map((headers) => ({ ...right, headers: { ...right.headers, ...headers } })),
    },
    {
      weight: 1,
      arbitrary: fc
        .dictionary(
          fc.constantFrom(...hostileTexts.filter((text) => text.length < 50), 'limit', 'cursor'),
          hostileText,
        )
        .map((query) => ({ ...right, query })),
    },
  ];
  const add = (weight: number, arbitrary: fc.Arbitrary<FuzzRequest>): void =>
    void ways.push({ weight, arbitrary });
  const places = Object.keys(right.params);
  if (places.length > 0) {
    const place = fc.constantFrom(...places);
    add(
      2,
      fc
        .tuple(place, hostileText)
        .map(([name, text]) => ({ ...right, params: { ...right.params, [name]: text } })),
    );
  }
  for (const { name, schema } of inQuery) {
    const value = fc.oneof(hostileText, arbitraryOf(schema).map(asText));
    add(
      1,
      value.map((text) => ({ ...right, query: { ...right.query, [name]: text } })),
    );
  }
  if (operation.bodySchema !== undefined) {
    add(
      3,
      arbitraryOf(operation.bodySchema).map((json) => ({ ...right, body: { json } })),
    );
    add(
      1,
      brokenBytes.map((bytes) => ({ ...right, body: { bytes } })),
    );
    if (right.body !== undefined && 'json' in right.body) {
      add(
        4,
        altered(right.body.json).map((json) => ({ ...right, body: { json } })),
      );
    }
  } else
    add(
      1,
      hostile.map((json) => ({ ...right, body: { json } })),
    );
  return fc.oneof(...ways);
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

/** With another value in one of its places, one place less, or one more. */
function altered(json: unknown): fc.Arbitrary<unknown> {
  const paths = placesOf(json, []);
  return fc
    .tuple(fc.constantFrom(...paths), hostile, fc.constantFrom('replace', 'remove', 'add'))
    .map(([path, value, how]) => {
      if (path.length === 0)
        return how === 'add' && isRecord(json) ? { ...json, [asText(value).slice(0, 200)]: value } : value;
      const copy = structuredClone(json);
      let parent = copy as Record<string, unknown>;
      for (const key of path.slice(0, -1)) parent = parent[key] as Record<string, unknown>;
      const last = path.at(-1)!;
      if (how === 'remove') delete parent[last];
      else if (how === 'add') parent[`${last}x`] = value;
      else parent[last] = value;
      return copy;
    });
}

function placesOf(json: unknown, path: string[]): string[][] {
  if (typeof json !== 'object' || json === null) return [path];
  return [path, ...Object.entries(json).flatMap(([key, value]) => placesOf(value, [...path, key]))];
}

function isRecord(json: unknown): json is Record<string, unknown> {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

/** Values that a schema takes, or nearly. */
export function arbitraryOf(schema: JsonSchema): fc.Arbitrary<unknown> {
  if ('const' in schema) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives !== undefined) return fc.oneof(...alternatives.map(arbitraryOf));
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  switch (type) {
    case 'string':
      return textOf(schema);
    case 'integer':
    case 'number':
      return numberOf(schema, type);
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    case 'array':
      return fc.array(arbitraryOf(schema.items ?? {}), {
        minLength: Math.min(schema.minItems ?? 0, 20),
        maxLength: Math.min(schema.maxItems ?? 4, 20),
      });
    case 'object':
      return recordOf(schema);
    default:
      return hostile;
  }
}

function textOf({ pattern, format, minLength = 0, maxLength = 60 }: JsonSchema): fc.Arbitrary<string> {
  if (format === 'uuid') return fc.uuid();
  if (format === 'date-time') return fc.date({ noInvalidDate: true }).map((date) => date.toISOString());
  if (pattern !== undefined) {
    try {
      return fc.stringMatching(new RegExp(pattern));
    } catch {
      // Not every construct of a pattern can be turned round: then any text is nearly one.
    }
  }
  return fc.string({
    minLength: Math.min(minLength, 200),
    maxLength: Math.max(Math.min(maxLength, 200), minLength),
  });
}

function numberOf(
  { minimum, maximum, exclusiveMinimum }: JsonSchema,
  type: 'integer' | 'number',
): fc.Arbitrary<number> {
  const least = minimum ?? exclusiveMinimum ?? -1_000;
  const most = Math.max(maximum ?? 1_000_000, least);
  const inside =
    type === 'integer'
      ? fc.integer({
          min: Math.ceil(Math.max(least, -(2 ** 31))),
          max: Math.floor(Math.min(most, 2 ** 31 - 1)),
        })
      : fc.double({ min: least, max: most, noNaN: true });
  return fc.oneof({ weight: 4, arbitrary: inside }, fc.constantFrom(least - 1, most + 1, least, most));
}

function recordOf({
  properties = {},
  required = [],
  additionalProperties,
}: JsonSchema): fc.Arbitrary<unknown> {
  const known = fc.record(
    Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, arbitraryOf(schema)])),
    { requiredKeys: required.filter((name) => name in properties) },
  );
  if (typeof additionalProperties !== 'object') return known;
  const others = fc.dictionary(
    fc.string({ minLength: 1, maxLength: 20 }),
    arbitraryOf(additionalProperties),
    {
      maxKeys: 4,
    },
  );
  return fc.tuple(known, others).map(([some, more]) => ({ ...some, ...more }));
}
