/**
 * Whether a delivery was signed with one of the secrets of its source, and within the time that is allowed: over its bytes as they
 * came, by what its provider's scheme says. Pure.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { WebhookRefusal, WebhookScheme } from '@ironflow/schema';

export interface ReceivedDelivery {
  /** By a lower-case name. */
  header: (name: string) => string | undefined;
  body: Buffer;
}

export type Verification =
  | { ok: true; /** As it was signed, if the scheme has one. */ timestamp?: string }
  | { ok: false; refusal: WebhookRefusal; rule: string };

export function verifyDelivery(
  scheme: WebhookScheme,
  { header, body }: ReceivedDelivery,
  keys: readonly Uint8Array[],
  nowMs: number,
): Verification {
  if (keys.length === 0) {
    return refused('webhook_secret_missing', 'the source has no secret yet: give it the one of its provider');
  }
  const { signature } = scheme;
  const given = partsOf(scheme, header, signature.header)
    .filter((part) => part.startsWith(signature.prefix))
    .map((part) => Buffer.from(comparable(scheme, part.slice(signature.prefix.length)), 'latin1'));
  if (given.length === 0) {
    return refused(
      'signature_missing',
      `the header ${signature.header} has no signature of the source’s scheme`,
    );
  }
  const timestamp = scheme.timestamp && timestampOf(scheme, scheme.timestamp, header);
  if (scheme.timestamp !== undefined && timestamp === undefined) {
    return refused('timestamp_missing', `the header ${scheme.timestamp.header} has no timestamp`);
  }
  const id = scheme.deliveryId?.header === undefined ? undefined : header(scheme.deliveryId.header);
  const isSigned = keys.some((key) => {
    const expected = Buffer.from(
      mac(scheme, key, { id: id ?? '', timestamp: timestamp ?? '', body }),
      'latin1',
    );
    return given.some((bytes) => bytes.length === expected.length && timingSafeEqual(bytes, expected));
  });
  if (!isSigned) return refused('signature_invalid', 'no signature was made with a secret of the source');
  if (timestamp === undefined) return { ok: true };
  const signedAtMs = Number(timestamp) * (scheme.timestamp!.unit === 's' ? 1_000 : 1);
  if (Math.abs(nowMs - signedAtMs) > scheme.toleranceSeconds * 1_000) {
    const rule = `it was signed more than ${scheme.toleranceSeconds} s from now: replayed, late, or by a wrong clock`;
    return refused('delivery_too_old', rule);
  }
  return { ok: true, timestamp };
}

function refused(refusal: WebhookRefusal, rule: string): Verification {
  return { ok: false, refusal, rule };
}

function partsOf({ signature }: WebhookScheme, header: ReceivedDelivery['header'], name: string): string[] {
  const value = header(name);
  if (value === undefined) return [];
  if (signature.separator === undefined || name !== signature.header) return [value];
  return value.split(signature.separator).map((part) => part.trim());
}

function timestampOf(
  scheme: WebhookScheme,
  { header: name, prefix }: NonNullable<WebhookScheme['timestamp']>,
  header: ReceivedDelivery['header'],
): string | undefined {
  const part = partsOf(scheme, header, name).find((candidate) => candidate.startsWith(prefix));
  const text = part?.slice(prefix.length);
  return text !== undefined && /^\d{1,15}$/.test(text) ? text : undefined;
}

/** The case of hexadecimal digits says nothing. */
function comparable({ signature }: WebhookScheme, text: string): string {
  return signature.encoding === 'hex' ? text.toLowerCase() : text;
}

/** Compared as text: decoders let more than one text pass for the same bytes. */
function mac(
  { signature, signed }: WebhookScheme,
  key: Uint8Array,
  { id, timestamp, body }: { id: string; timestamp: string; body: Buffer },
): string {
  const hmac = createHmac(signature.algorithm, key);
  for (const piece of signed.split(/(\{id\}|\{timestamp\}|\{body\})/)) {
    if (piece === '{body}') hmac.update(body);
    // Node reads headers as latin1: so are their bytes.
    else if (piece === '{id}') hmac.update(id, 'latin1');
    else if (piece === '{timestamp}') hmac.update(timestamp, 'latin1');
    else hmac.update(piece, 'utf8');
  }
  return hmac.digest(signature.encoding);
}
