/**
 * Webhooks: how a provider signs what it sends, and where a delivery says which it is and what has happened. A provider is data:
 * the ones that are known are rows of `webhookProviders`, and a tenant describes any other in the same words. Pure.
 */
import { z } from 'zod';
import { emittedEventNameSchema, idLengthMax, reservedEventPrefix } from './identifiers.js';
import { limits } from './limits.js';
import { utf8Text } from './utf8-text.js';

export const webhookIdSchema = z
  .string()
  .regex(
    new RegExp(`^[A-Za-z0-9_-]{1,${idLengthMax}}$`),
    `must be 1 to ${idLengthMax} of A-Z, a-z, 0-9, "_" and "-"`,
  );

export const webhookHeaderSchema = z
  .string()
  .toLowerCase()
  .regex(/^[a-z0-9!#$%&'*+.^_`|~-]{1,100}$/, 'must be the name of an HTTP header');

/** A header, or a path into the body such as `data.object.id`. */
const placeSchema = z
  .strictObject({
    header: webhookHeaderSchema.optional(),
    path: utf8Text(limits.matchPathBytesMax)
      .min(1)
      .optional()
      .describe('keys of the body, joined by dots, such as `data.object.id`'),
  })
  .refine(({ header, path }) => (header === undefined) !== (path === undefined), {
    message: 'must have either `header` or `path`',
  });
export type WebhookPlace = z.infer<typeof placeSchema>;

/** What is around a value in a header. */
const prefixSchema = z.string().regex(/^[\x21-\x7e]{0,32}$/, 'must be up to 32 printable ASCII characters');

const signedPlaceholders = ['{id}', '{timestamp}', '{body}'] as const;

export const webhookSchemeSchema = z
  .strictObject({
    signature: z.strictObject({
      header: webhookHeaderSchema,
      algorithm: z.enum(['sha1', 'sha256', 'sha512']).default('sha256').describe('of the HMAC'),
      encoding: z.enum(['hex', 'base64']).default('hex'),
      prefix: prefixSchema.default('').describe('what a signature begins with, such as `sha256=`'),
      separator: z
        .enum([',', ' '])
        .optional()
        .describe('of the parts of the header, if it has several: those with the prefix are signatures'),
    }),
    timestamp: z
      .strictObject({
        header: webhookHeaderSchema,
        prefix: prefixSchema
          .default('')
          .describe('what it begins with, as one of the parts of its header, such as `t=`'),
        unit: z.enum(['s', 'ms']).default('s').describe('since 1970'),
      })
      .optional()
      .describe('when it was signed: what is older than the tolerance is refused'),
    toleranceSeconds: z.number().int().min(1).max(86_400).default(300),
    signed: z
      .string()
      .max(200)
      .default('{body}')
      .describe(
        'what is signed: text with `{body}`, `{timestamp}` and `{id}` in it, such as `{timestamp}.{body}`',
      ),
    secret: z
      .strictObject({
        encoding: z.enum(['utf8', 'hex', 'base64']).default('utf8'),
        prefix: prefixSchema.default('').describe('that is no part of the key, such as `whsec_`'),
      })
      .default({ encoding: 'utf8', prefix: '' })
      .describe('how the secret is written'),
    deliveryId: placeSchema
      .optional()
      .describe('which delivery it is: the same one twice within 24 hours is one event'),
    eventType: z
      .array(placeSchema.safeExtend({ optional: z.boolean().default(false) }))
      .max(4)
      .default([])
      .describe('what has happened: the parts of the event’s name that follow its prefix'),
  })
  .superRefine((scheme, context) => {
    const rule = brokenSchemeRule(scheme);
    if (rule !== undefined) context.addIssue({ code: 'custom', path: ['signed'], message: rule });
  });
export type WebhookScheme = z.infer<typeof webhookSchemeSchema>;

function brokenSchemeRule(scheme: {
  signed: string;
  timestamp?: unknown;
  deliveryId?: WebhookPlace | undefined;
}): string | undefined {
  const counts = signedPlaceholders.map((placeholder) => scheme.signed.split(placeholder).length - 1);
  const [ids, timestamps, bodies] = counts as [number, number, number];
  if (bodies !== 1) return 'must contain {body} once';
  if (timestamps > 0 !== (scheme.timestamp !== undefined)) {
    return 'must contain {timestamp} exactly if there is a `timestamp`: one that is not signed can be changed';
  }
  if (ids > 0 && scheme.deliveryId?.header === undefined) {
    return 'may contain {id} only if `deliveryId` is a header';
  }
  return undefined;
}

export const webhookProviderIds = ['github', 'stripe', 'standard-webhooks', 'custom'] as const;
export type WebhookProviderId = (typeof webhookProviderIds)[number];

export interface WebhookProvider {
  /** Of the names of its events; by default the source's id. */
  eventPrefix?: string;
  /** It makes the secret itself, once it knows the URL. */
  makesSecrets: boolean;
  /** Of the forms that it may send instead of JSON: the field that has the JSON. */
  formField?: string;
  scheme: WebhookScheme;
}

const plainSecret = { encoding: 'utf8', prefix: '' } as const;

export const webhookProviders: Readonly<Record<Exclude<WebhookProviderId, 'custom'>, WebhookProvider>> = {
  github: {
    eventPrefix: 'github',
    makesSecrets: false,
    formField: 'payload',
    scheme: {
      signature: {
        header: 'x-hub-signature-256',
        algorithm: 'sha256',
        encoding: 'hex',
        prefix: 'sha256=',
      },
      toleranceSeconds: 300,
      signed: '{body}',
      secret: plainSecret,
      deliveryId: { header: 'x-github-delivery' },
      eventType: [
        { header: 'x-github-event', optional: false },
        { path: 'action', optional: true },
      ],
    },
  },
  stripe: {
    eventPrefix: 'stripe',
    makesSecrets: true,
    scheme: {
      signature: {
        header: 'stripe-signature',
        algorithm: 'sha256',
        encoding: 'hex',
        prefix: 'v1=',
        separator: ',',
      },
      timestamp: { header: 'stripe-signature', prefix: 't=', unit: 's' },
      toleranceSeconds: 300,
      signed: '{timestamp}.{body}',
      secret: plainSecret,
      deliveryId: { path: 'id' },
      eventType: [{ path: 'type', optional: false }],
    },
  },
  'standard-webhooks': {
    makesSecrets: false,
    scheme: {
      signature: {
        header: 'webhook-signature',
        algorithm: 'sha256',
        encoding: 'base64',
        prefix: 'v1,',
        separator: ' ',
      },
      timestamp: { header: 'webhook-timestamp', prefix: '', unit: 's' },
      toleranceSeconds: 300,
      signed: '{id}.{timestamp}.{body}',
      secret: { encoding: 'base64', prefix: 'whsec_' },
      deliveryId: { header: 'webhook-id' },
      eventType: [{ path: 'type', optional: true }],
    },
  },
};

export const webhookSecretSchema = z
  .string()
  .min(8, 'must be at least 8 characters')
  .max(limits.webhookSecretLengthMax, `must be at most ${limits.webhookSecretLengthMax} characters`)
  .regex(/^[\x20-\x7e]+$/, 'must be printable ASCII');

/** The key of the HMAC; `undefined` if the secret is not written as the scheme says. */
export function webhookKey(
  { secret: { encoding, prefix } }: WebhookScheme,
  secret: string,
): Uint8Array | undefined {
  const text = secret.startsWith(prefix) ? secret.slice(prefix.length) : secret;
  const key = Buffer.from(text, encoding);
  // Node leaves out what it cannot decode: a key that was cut short would be a weak one.
  const isWhole =
    withoutPadding(key.toString(encoding)) === withoutPadding(encoding === 'hex' ? text.toLowerCase() : text);
  return isWhole && key.length > 0 ? key : undefined;
}

/** `random` is 32 random bytes. */
export function formatWebhookSecret(
  { secret: { encoding, prefix } }: WebhookScheme,
  random: Uint8Array,
): string {
  return prefix + Buffer.from(random).toString(encoding === 'base64' ? 'base64' : 'hex');
}

function withoutPadding(text: string): string {
  return text.replace(/=+$/, '');
}

/** What may stand before the types of a source's events. */
export const webhookEventPrefixSchema = emittedEventNameSchema.refine(
  (prefix) => `${prefix}.` !== reservedEventPrefix,
  'must not be "ironflow", which is reserved for the platform',
);

/** By default the provider's, or the source's id. */
export function eventPrefixOf(source: {
  id: string;
  provider: WebhookProviderId;
  eventPrefix?: string | undefined;
}): string {
  const { id, provider, eventPrefix } = source;
  if (eventPrefix !== undefined) return eventPrefix;
  return provider === 'custom' ? id : (webhookProviders[provider].eventPrefix ?? id);
}

/**
 * The name of a delivery's event: the prefix and what the provider says, whose `/` and `:` separate tokens like `.` does. What a
 * name cannot have becomes `_`. `undefined`: there is no name for it.
 */
export function webhookEventName(prefix: string, types: readonly string[]): string | undefined {
  const tokens = types.flatMap((type) => type.trim().split(/[./:]/));
  // A token of nothing but placeholders would say nothing.
  if (!tokens.every((token) => /[A-Za-z0-9]/.test(token))) return undefined;
  const name = [prefix, ...tokens.map((token) => token.replace(/[^A-Za-z0-9_-]+/g, '_'))].join('.');
  return emittedEventNameSchema.safeParse(name).success ? name : undefined;
}

/** Why a delivery was refused, as its sender is told and as the log has it. */
export const webhookRefusals = [
  'webhook_paused',
  'webhook_secret_missing',
  'signature_missing',
  'signature_invalid',
  'timestamp_missing',
  'delivery_too_old',
  'body_too_large',
  'body_not_json',
  'event_data_too_large',
  'event_data_too_deep',
  'event_refused',
  'event_type_missing',
  'event_name_invalid',
  'delivery_id_missing',
  'delivery_id_reused',
] as const;
export type WebhookRefusal = (typeof webhookRefusals)[number];

export const webhookStatuses = ['active', 'paused'] as const;
export type WebhookStatus = (typeof webhookStatuses)[number];

export const deliveryStatuses = ['accepted', 'duplicate', 'refused'] as const;
export type DeliveryStatus = (typeof deliveryStatuses)[number];
