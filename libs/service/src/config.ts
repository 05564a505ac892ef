/**
 * Configuration: one Zod object per service, parsed once from the environment variables. What goes wrong is told by the
 * name of the variable and the rule it breaks; a value never appears, since it may be a secret.
 */
import { isIP } from 'node:net';
import { IronflowError } from '@ironflow/errors';
import { z } from 'zod';
import { logLevels } from './logger.js';
import { transportRisks } from './transport-risks.js';

/** Throws one error that lists every bad variable. An empty variable counts as absent: charts like to render `""`. */
export function loadConfig<Schema extends z.ZodObject>(
  schema: Schema,
  env: NodeJS.ProcessEnv = process.env,
): z.infer<Schema> {
  const given = Object.fromEntries(
    Object.keys(schema.shape)
      .filter((name) => env[name] !== undefined && env[name] !== '')
      .map((name) => [name, env[name]]),
  );
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => {
    const name = issue.path[0] === undefined ? 'configuration' : String(issue.path[0]);
    return `${name}: ${given[name] === undefined && issue.path.length > 0 ? 'is required' : issue.message}`;
  });
  throw new IronflowError('invalid', 'config_invalid', `bad configuration: ${problems.join('; ')}`);
}

const url = (protocols: RegExp, rule: string) =>
  z
    .string()
    .refine((text) => URL.canParse(text) && protocols.test(new URL(text).protocol), `must be ${rule}`);
const postgresUrl = url(/^postgres(ql)?:$/, 'a postgresql:// URL');
const everyNatsUrl = (text: string) => text.split(',').every((one) => natsUrl.test(one.trim()));
const natsUrl = /^((nats|tls|wss?):\/\/)?[^\s/:@]+(:\d+)?\/?$/;

/** Names a number's rule whatever is wrong with it; Zod's own words differ for text, fractions and ranges. */
const number = (rule: string, isValid: (value: number) => boolean) =>
  z
    .string()
    .trim()
    .refine((text) => text !== '' && isValid(Number(text)), `must be ${rule}`)
    .transform(Number);

/** Every service: `z.object({ ...baseConfigShape, MY_OWN: … })`. */
export const baseConfigShape = {
  /** One or several, separated by commas. */
  NATS_URL: z
    .string()
    .refine((text) => !text.includes('@'), {
      message:
        'must not contain credentials: they go into NATS_USER and NATS_PASSWORD, NATS_TOKEN, or NATS_CREDS_FILE',
      abort: true,
    })
    .refine(everyNatsUrl, 'must be nats:// URLs separated by commas')
    .default('nats://127.0.0.1:4222'),
  /** With its password, or a token instead, where the servers ask for one; never in the URL, which is logged. */
  NATS_USER: z.string().optional(),
  NATS_PASSWORD: z.string().optional(),
  NATS_TOKEN: z.string().optional(),
  /** A creds file, where the servers are in operator mode. */
  NATS_CREDS_FILE: z.string().optional(),
  /** The role that sees every environment. */
  DATABASE_URL: postgresUrl,
  /** Whose certificate the servers have, and the own one where they ask for it: files in PEM. */
  NATS_TLS_CA_FILE: z.string().optional(),
  NATS_TLS_CERT_FILE: z.string().optional(),
  NATS_TLS_KEY_FILE: z.string().optional(),
  /** What this service listens with: by https if they are given. */
  TLS_CERT_FILE: z.string().optional(),
  TLS_KEY_FILE: z.string().optional(),
  /** Risks that are taken on purpose, separated by commas; without them a service that would take one does not start. */
  IRONFLOW_ACCEPT_RISKS: z
    .string()
    .default('')
    .transform((text) => text.split(',').map((part) => part.trim()))
    .transform((parts) => parts.filter((part) => part !== ''))
    .pipe(
      z.array(z.enum(transportRisks, `must be some of ${transportRisks.join(', ')}, separated by commas`)),
    ),
  /**
   * Who may say in `X-Forwarded-For` where a request came from: the proxies in front, as addresses or ranges separated by commas. Nobody
   * by default, and then a request comes from whoever has connected.
   */
  IRONFLOW_TRUSTED_PROXIES: z
    .string()
    .default('')
    .transform((text) => text.split(',').map((part) => part.trim()))
    .transform((parts) => parts.filter((part) => part !== ''))
    .refine(
      (parts) => parts.every(isAddressRange),
      'must be addresses or ranges such as 10.0.0.0/8, separated by commas',
    ),
  LOG_LEVEL: z.enum(logLevels).default('info'),
  HOST: z.string().default('127.0.0.1'),
  /** 0 takes any free port. */
  PORT: number('a port number from 0 to 65535', isPort).default(8080),
  /** Spans are off when absent. */
  OTEL_EXPORTER_OTLP_ENDPOINT: url(/^https?:$/, 'an http:// or https:// URL').optional(),
  /** The share of traces that is recorded. */
  OTEL_TRACES_SAMPLER_ARG: number('a ratio from 0 to 1', (value) => value >= 0 && value <= 1).default(1),
};

/** Services that serve tenants (ingest, api): the role bound to one environment by row-level security. */
export const tenantDatabaseConfigShape = { TENANT_DATABASE_URL: postgresUrl };

const masterKeyRule = 'must be 32 bytes in base64, or several of those separated by commas';

/** Services that read or make secrets. Of several the first wraps what is new, and all of them open. */
export const masterKeyConfigShape = {
  IRONFLOW_MASTER_KEY: z
    .string()
    .transform((text) => text.replaceAll(/\s/g, ''))
    .refine((text) => /^[A-Za-z0-9+/]{43}=(,[A-Za-z0-9+/]{43}=)*$/.test(text), masterKeyRule),
};

function isAddressRange(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const version = isIP(address);
  if (version === 0 || more.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 65_535;
}
