/**
 * Reads JSON bodies with whatever keys they have. Fastify's own parser refuses some, such as `__proto__`, which are ordinary
 * keys of somebody's data here: the data is written out again and never merged into anything. Numbers become doubles, so
 * what is written out again has them rounded beyond 2^53: the OpenAPI description and the README say so.
 */
import { isUtf8 } from 'node:buffer';
import { IronflowError } from '@ironflow/errors';
import type { HttpApp } from '@ironflow/service';

export function addJsonParser(app: HttpApp): void {
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    const parsed = parseJson(body as Buffer);
    if ('rule' in parsed) done(new IronflowError('invalid', 'malformed_json', parsed.rule));
    else done(null, parsed.value);
  });
}

export function parseJson(body: Buffer): { value: unknown } | { rule: string } {
  if (body.length === 0) return { rule: 'the body is empty' };
  if (!isUtf8(body)) return { rule: 'the body is not valid UTF-8' };
  try {
    return { value: JSON.parse(body.toString('utf8')) };
  } catch {
    // The parser's message quotes the body.
    return { rule: 'the body is not valid JSON' };
  }
}
