/** What came back for requests that are nearly right: counted by route and class, and what must never be. Pure. */
import { errorBodySchema } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import type { Operation } from './fuzz-values.js';

export interface Answer {
  status: number;
  contentType: string;
  /** Of a stream, nothing. */
  text: string;
}

/** Whatever the description of a route says: nothing is there, or it was not asked in a way that HTTP knows. */
const alwaysAllowed = new Set([400, 404, 405, 413, 414, 415, 431]);

/** What is wrong with an answer; `undefined` for one that is as it is described. */
export function faultOf(operation: Operation, route: Route, answer: Answer): string | undefined {
  const { status, contentType, text } = answer;
  if (status >= 500) return `${status}: ${text.slice(0, 300)}`;
  if (status >= 300 && status < 400) return `${status}: nothing here is somewhere else`;
  if (!operation.statuses.includes(status) && !alwaysAllowed.has(status)) return `${status} is not described`;
  if (status >= 400) {
    if (route.page !== undefined && contentType.startsWith('text/html')) return undefined;
    return errorBodySchema.safeParse(parsed(text)).success
      ? undefined
      : `${status} without an error that can be read`;
  }
  const described = route.answers[status];
  if (described === undefined) return undefined;
  const found = described.schema.safeParse(parsed(text));
  if (found.success) return undefined;
  const at = found.error.issues[0]?.path.join('.') ?? '';
  return `${status} is not of its schema at "${at}": ${found.error.issues[0]?.message}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const classes = [
  '2xx',
  '400',
  '401',
  '403',
  '404',
  '409',
  '413',
  '415',
  '429',
  'other',
  '5xx',
] as const;
export type AnswerClass = (typeof classes)[number];

export function classOf(status: number): AnswerClass {
  if (status >= 500) return '5xx';
  if (status >= 200 && status < 300) return '2xx';
  return classes.find((name) => name === String(status)) ?? 'other';
}

export type Counts = Record<AnswerClass, number>;

export function noCounts(): Counts {
  return Object.fromEntries(classes.map((name) => [name, 0])) as Counts;
}
