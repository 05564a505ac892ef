/** How the servers of NATS are reached, from the variables of every service: also for commands that are none. */
import { z } from 'zod';
import { IronflowError } from '@ironflow/errors';
import type { ConnectionOptions } from '@ironflow/jetstream';
import { baseConfigShape, loadConfig } from './config.js';
import { describeRisks, isTlsUrl, risksOf } from './transport-risks.js';
import type { Transports } from './transport-risks.js';

const { shape } = z.object(baseConfigShape).pick({
  NATS_URL: true,
  NATS_USER: true,
  NATS_PASSWORD: true,
  NATS_TOKEN: true,
  NATS_CREDS_FILE: true,
  NATS_TLS_CA_FILE: true,
  NATS_TLS_CERT_FILE: true,
  NATS_TLS_KEY_FILE: true,
  IRONFLOW_ACCEPT_RISKS: true,
});

type NatsConfig = z.infer<z.ZodObject<typeof shape>>;
type NatsAddress = Pick<
  NatsConfig,
  'NATS_URL' | 'NATS_TLS_CA_FILE' | 'NATS_TLS_CERT_FILE' | 'NATS_TLS_KEY_FILE'
>;

export interface NatsServers {
  url: string;
  tls: ReturnType<typeof natsTlsOf>;
}

/** Throws what a service would, also for a risk that nobody has accepted. */
export function natsLoginOf(env: NodeJS.ProcessEnv): Omit<ConnectionOptions, 'name'> {
  const config = loadConfig(z.object(shape), env);
  const transports = { http: undefined, nats: natsTransportOf(config), databaseUrls: [] };
  const risks = risksOf(transports).filter((risk) => !config.IRONFLOW_ACCEPT_RISKS.includes(risk));
  if (risks.length > 0) throw new IronflowError('invalid', 'config_unsafe', describeRisks(risks));
  return {
    ...natsServersOf(config),
    user: config.NATS_USER,
    password: config.NATS_PASSWORD,
    token: config.NATS_TOKEN,
    credsFile: config.NATS_CREDS_FILE,
  };
}

export function natsServersOf(config: NatsAddress): NatsServers {
  return { url: config.NATS_URL, tls: natsTlsOf(config) };
}

export function natsTransportOf(config: NatsConfig): Transports['nats'] {
  const shown = [config.NATS_USER, config.NATS_TOKEN, config.NATS_CREDS_FILE, config.NATS_TLS_CERT_FILE];
  return {
    urls: config.NATS_URL.split(','),
    isTls: natsTlsOf(config) !== undefined,
    isAuthenticated: shown.some((one) => one !== undefined),
  };
}

/** With any address that asks for it, or a file of it, all connections are encrypted. */
function natsTlsOf({ NATS_URL: urls, ...config }: NatsAddress) {
  const [caFile, certFile, keyFile] = [
    config.NATS_TLS_CA_FILE,
    config.NATS_TLS_CERT_FILE,
    config.NATS_TLS_KEY_FILE,
  ];
  const isTls = urls.split(',').some(isTlsUrl) || caFile !== undefined || certFile !== undefined;
  if (!isTls) return undefined;
  return {
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
  };
}
