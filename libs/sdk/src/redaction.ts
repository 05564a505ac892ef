/**
 * Values of secrets that this process was given, kept out of what leaves it by the way: lines of the log and errors that are
 * recorded. Of the whole process, since a value is secret whoever logs it. What a function returns or sends is its own affair.
 */

/** Shorter ones are parts of too many words. */
const lengthMin = 6;
/** Beyond, the one longest unused is forgotten. */
const valuesMax = 1_000;
/** What is longer is cut: no more of it is recorded anyway. */
const textLengthMax = 1024 * 1024;
const depthMax = 8;
const redacted = '[secret]';
const omitted = '[…]';

// A Set iterates in the order of insertion: what is used is put at its end again.
const values = new Set<string>();
let longestFirst: string[] | undefined;

export function keepSecret(value: string): void {
  // As it is within JSON as well.
  for (const form of new Set([value, JSON.stringify(value).slice(1, -1)])) {
    if (form.length < lengthMin) continue;
    if (!values.delete(form)) longestFirst = undefined;
    values.add(form);
    if (values.size <= valuesMax) continue;
    values.delete(values.values().next().value!);
    longestFirst = undefined;
  }
}

export function redactText(text: string): string {
  if (values.size === 0) return text;
  let clean = text.length > textLengthMax ? text.slice(0, textLengthMax) : text;
  // One that is within another would leave the rest of that.
  longestFirst ??= [...values].sort((a, b) => b.length - a.length);
  for (const value of longestFirst) {
    if (clean.includes(value)) clean = clean.replaceAll(value, redacted);
  }
  return clean;
}

/** The text of whatever is logged, at any depth to 8; what is deeper is left out, a circle among it. */
export function redact(logged: unknown): unknown {
  return values.size === 0 ? logged : redactWithin(logged, 0);
}

function redactWithin(logged: unknown, depth: number): unknown {
  if (typeof logged === 'string') return redactText(logged);
  if (typeof logged !== 'object' || logged === null) return logged;
  if (logged instanceof Date || ArrayBuffer.isView(logged)) return logged;
  if (depth >= depthMax) return omitted;
  const within = (value: unknown): unknown => redactWithin(value, depth + 1);
  if (Array.isArray(logged)) return logged.map(within);
  if (logged instanceof Map) return new Map([...logged].map(([key, value]) => [within(key), within(value)]));
  if (logged instanceof Set) return new Set([...logged].map(within));
  const copy = Object.fromEntries(
    Object.entries(logged).map(([key, value]) => [redactText(key), within(value)]),
  );
  if (!(logged instanceof Error)) return copy;
  const { name, message, stack, cause } = logged;
  // As an error, for a log that treats those in its own way.
  return Object.assign(new Error(redactText(message)), copy, {
    name,
    ...(typeof stack === 'string' ? { stack: redactText(stack) } : {}),
    ...(cause === undefined ? {} : { cause: within(cause) }),
  });
}
