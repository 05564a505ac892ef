/**
 * What would cross a network in the open, as a service is configured. Within one machine nothing does. Pure.
 */
import { isIPv4 } from 'node:net';

export const transportRisks = ['plain-http', 'plain-nats', 'anonymous-nats', 'plain-postgres'] as const;
export type TransportRisk = (typeof transportRisks)[number];

export interface Transports {
  /** What it listens on, if it does. */
  http: { host: string; isTls: boolean } | undefined;
  nats: { urls: readonly string[]; isTls: boolean; isAuthenticated: boolean };
  databaseUrls: readonly string[];
}

/** How each is avoided. */
const remedies: Record<TransportRisk, string> = {
  'plain-http': 'listen with TLS_CERT_FILE and TLS_KEY_FILE, or behind something on this machine that does',
  'plain-nats': 'connect to tls:// addresses, or with NATS_TLS_CA_FILE',
  'anonymous-nats': 'show NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_CREDS_FILE, or a certificate',
  'plain-postgres': 'add sslmode=verify-full, and sslrootcert for a private authority, to the URL',
};

export function risksOf({ http, nats, databaseUrls }: Transports): TransportRisk[] {
  const isRemote = nats.urls.some((url) => !isLoopback(hostOf(url)));
  const found: Record<TransportRisk, boolean> = {
    'plain-http': http !== undefined && !http.isTls && !isLoopback(http.host),
    'plain-nats': isRemote && !nats.isTls,
    'anonymous-nats': isRemote && !nats.isAuthenticated,
    'plain-postgres': databaseUrls.some((url) => !isPostgresProtected(new URL(url))),
  };
  return transportRisks.filter((risk) => found[risk]);
}

export function describeRisks(risks: readonly TransportRisk[]): string {
  const each = risks.map((risk) => `${risk}: ${remedies[risk]}`);
  return `beyond this machine traffic would be open to others (${each.join('; ')}). What is protected otherwise is named in IRONFLOW_ACCEPT_RISKS=${risks.join(',')}`;
}

export function isTlsUrl(url: string): boolean {
  return /^(tls|wss):/.test(url.trim());
}

function isPostgresProtected({ hostname, searchParams }: URL): boolean {
  const host = searchParams.get('host') ?? decodeURIComponent(hostname);
  // An absolute path is a socket of this machine.
  if (host === '' || host.startsWith('/') || isLoopback(host)) return true;
  // The driver verifies for all of these; for others it does not, or uses no TLS at all.
  return ['require', 'verify-ca', 'verify-full'].includes(searchParams.get('sslmode') ?? '');
}

function hostOf(url: string): string {
  const text = url.trim();
  return new URL(text.includes('://') ? text.replace(/^\w+:/, 'http:') : `http://${text}`).hostname;
}

function isLoopback(host: string): boolean {
  const name = host.replace(/^\[(.*)\]$/, '$1');
  return name === 'localhost' || name === '::1' || (isIPv4(name) && name.startsWith('127.'));
}
