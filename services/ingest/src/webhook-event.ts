/**
 * The event that a delivery becomes, once its signature is known to be good: its name, its data and the key by which the same
 * delivery is taken once. Pure.
 */
import { createHash } from 'node:crypto';
import type { WebhookSource } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { isHeaderText, limits, matchValueAt, webhookEventName, webhookProviders } from '@ironflow/schema';
import type { WebhookPlace, WebhookRefusal } from '@ironflow/schema';
import { dataText } from './emitted-event.js';
import type { PreparedEvent } from './emitted-event.js';
import { parseJson } from './json-parser.js';
import type { ReceivedDelivery } from './webhook-verification.js';

export interface WebhookEvent extends PreparedEvent {
  /** The provider's, if its scheme has one. */
  deliveryId?: string;
}

type Naming = Pick<WebhookSource, 'address' | 'provider' | 'scheme' | 'eventPrefix' | 'headers'>;

/** Throws an IronflowError whose code is a `WebhookRefusal`. `timestamp` is the one that was signed. */
export function webhookEvent(
  source: Naming,
  delivery: ReceivedDelivery,
  timestamp: string | undefined,
): WebhookEvent {
  const { scheme, eventPrefix } = source;
  const body = parseBody(source, delivery);
  const at = (place: WebhookPlace): string | undefined => valueAt(place, delivery, body);

  const types = scheme.eventType.flatMap((place) => {
    const type = at(place);
    if (type !== undefined) return [type];
    if (place.optional) return [];
    throw refusal('event_type_missing', `there is no event type in ${describe(place)}`);
  });
  const name = webhookEventName(eventPrefix, types);
  if (name === undefined) {
    throw refusal('event_name_invalid', 'its event type cannot be made the name of an event');
  }
  const deliveryId = scheme.deliveryId && at(scheme.deliveryId);
  if (scheme.deliveryId !== undefined && deliveryId === undefined) {
    throw refusal('delivery_id_missing', `there is no id of the delivery in ${describe(scheme.deliveryId)}`);
  }
  const key = deduplicationKey(source, deliveryId ?? exactCopy(timestamp, delivery));
  return {
    name,
    data: dataOf(source, delivery, body),
    ...(key === undefined ? {} : { idempotencyKey: key }),
    ...(deliveryId === undefined ? {} : { deliveryId }),
    ...(deliveryId !== undefined && isCausationId(deliveryId) ? { causationId: deliveryId } : {}),
  };
}

/** As a provider's log shows it; of a delivery that is refused it is what somebody claims. */
export function claimedDeliveryId(
  { scheme }: Pick<WebhookSource, 'scheme'>,
  header: ReceivedDelivery['header'],
): string | undefined {
  const name = scheme.deliveryId?.header;
  return name === undefined ? undefined : loggedDeliveryId(header(name));
}

/** Bounded, and of characters that Postgres takes. */
export function loggedDeliveryId(id: string | undefined): string | undefined {
  return id?.slice(0, loggedIdLengthMax).replaceAll(/\0|\p{Surrogate}/gu, '�');
}

const loggedIdLengthMax = 128;

/**
 * JSON, or for a provider that sends those a form with its JSON in a field. The bytes were signed and their content type was not: what is JSON is never
 * read as a form, in which text of somebody else's could be a field.
 */
function parseBody({ provider }: Pick<Naming, 'provider'>, { body }: ReceivedDelivery): unknown {
  const parsed = parseJson(body);
  if (!('rule' in parsed)) return parsed.value;
  const field = provider === 'custom' ? undefined : webhookProviders[provider].formField;
  const text = field === undefined ? null : new URLSearchParams(body.toString('utf8')).get(field);
  if (text === null) throw refusal('body_not_json', parsed.rule);
  const inForm = parseJson(Buffer.from(text));
  if ('rule' in inForm) throw refusal('body_not_json', inForm.rule);
  return inForm.value;
}

function dataOf({ headers }: Naming, { header }: ReceivedDelivery, body: unknown): string {
  if (headers.length === 0) return dataText(body, 'body');
  const kept = headers.flatMap((name) => {
    const value = header(name);
    return value === undefined ? [] : [[name, value]];
  });
  return dataText({ body, headers: Object.fromEntries(kept) as Record<string, string> }, 'body');
}

function valueAt(
  { header: name, path }: WebhookPlace,
  { header }: ReceivedDelivery,
  body: unknown,
): string | undefined {
  const value = name === undefined ? matchValueAt(body, path!) : header(name);
  return value === undefined || value === '' ? undefined : String(value);
}

function describe({ header, path }: WebhookPlace): string {
  return header === undefined ? `the body at "${path}"` : `the header ${header}`;
}

/** A provider that names no deliveries: the same bytes, signed at the same time, are the same delivery sent again. */
function exactCopy(timestamp: string | undefined, { body }: ReceivedDelivery): string | undefined {
  if (timestamp === undefined) return undefined;
  return createHash('sha256').update(`${timestamp}.`).update(body).digest('base64url');
}

/** One byte longer than a tenant's own key may be: none of those can be the same. */
function deduplicationKey({ address }: Naming, id: string | undefined): string | undefined {
  if (id === undefined) return undefined;
  const hash = createHash('sha256').update(id).digest('base64url');
  return `webhook.${address}.${hash}`.padEnd(limits.idempotencyKeyBytesMax + 1, '.');
}

const causationIdLengthMax = 128;

function isCausationId(id: string): boolean {
  return id.length <= causationIdLengthMax && isHeaderText(id);
}

function refusal(code: WebhookRefusal, rule: string): IronflowError {
  return new IronflowError('invalid', code, rule);
}
