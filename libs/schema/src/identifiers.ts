/** The grammar of every name a tenant chooses. Anything else is refused with a message that names the rule. */
import { z } from 'zod';
import { limits } from './limits.js';

const slugPattern = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;
/** Of apps and functions; the longest a URL's parameter gets. */
export const idLengthMax = 128;
const idPattern = new RegExp(`^[A-Za-z0-9_-]{1,${idLengthMax}}$`);
const eventTokenPattern = /^[A-Za-z0-9_-]+$/;
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export const reservedEventPrefix = 'ironflow.';

const slugRule = 'must be 1 to 40 of a-z, 0-9 and "-", beginning and ending with a letter or digit';
export const slugSchema = z.string().regex(slugPattern, slugRule);

const idRule = `must be 1 to ${idLengthMax} of A-Z, a-z, 0-9, "_" and "-"`;
export const appIdSchema = z.string().regex(idPattern, idRule);
export const functionIdSchema = z.string().regex(idPattern, idRule);

/** Of a worker's code, such as a commit. */
export const buildIdLengthMax = 64;
export const buildIdSchema = z
  .string()
  .regex(
    new RegExp(`^[A-Za-z0-9_-]{1,${buildIdLengthMax}}$`),
    `must be 1 to ${buildIdLengthMax} of A-Z, a-z, 0-9, "_" and "-"`,
  );

export const uuidSchema = z.string().regex(uuidPattern, 'must be a lower-case UUID');

/** An event name as the platform knows it, reserved ones included. */
export const eventNameSchema = z.string().superRefine((name, context) => {
  const broken = brokenEventNameRule(name);
  if (broken !== undefined) context.addIssue({ code: 'custom', message: broken });
});

/** An event name as a tenant may emit it. */
export const emittedEventNameSchema = eventNameSchema.refine(
  (name) => !name.startsWith(reservedEventPrefix),
  `must not begin with "${reservedEventPrefix}", which is reserved for the platform`,
);

/** A trigger's event: a name in which a token may be `*`, or the last one `>` for any tokens that follow. */
export const eventPatternSchema = z.string().superRefine((pattern, context) => {
  const plain = pattern
    .split('.')
    .map((token, index, all) => (token === '*' || (token === '>' && index === all.length - 1) ? 'x' : token))
    .join('.');
  const broken = brokenEventNameRule(plain);
  if (broken !== undefined) {
    context.addIssue({
      code: 'custom',
      message: `${broken}; "*" stands for one token, a last ">" for the rest`,
    });
  }
});

function brokenEventNameRule(name: string): string | undefined {
  if (Buffer.byteLength(name) > limits.eventNameBytesMax) {
    return `must be at most ${limits.eventNameBytesMax} bytes`;
  }
  const tokens = name.split('.');
  if (tokens.length > limits.eventNameTokensMax) {
    return `must have at most ${limits.eventNameTokensMax} dot-separated tokens`;
  }
  if (!tokens.every((token) => eventTokenPattern.test(token))) {
    return 'must be dot-separated tokens of A-Z, a-z, 0-9, "_" and "-"';
  }
  return undefined;
}

/**
 * Whether an event's name falls under a trigger's pattern. Both are known to be well-formed. Wildcards do not reach the
 * platform's own events: each of those is for one function only.
 */
export function matchesEventPattern(pattern: string, name: string): boolean {
  if (pattern === name) return true;
  if (name.startsWith(reservedEventPrefix)) return false;
  const wanted = pattern.split('.');
  const tokens = name.split('.');
  for (const [index, token] of wanted.entries()) {
    if (token === '>') return tokens.length > index;
    if (index >= tokens.length || (token !== '*' && token !== tokens[index])) return false;
  }
  return wanted.length === tokens.length;
}

/** Where a record belongs. The slugs spell subjects; the id keys every row. */
export const scopeSchema = z.object({
  environmentId: uuidSchema,
  project: slugSchema,
  env: slugSchema,
});
export type Scope = z.infer<typeof scopeSchema>;
