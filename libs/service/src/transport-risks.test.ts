import { expect, test } from '@jest/globals';
import { describeRisks, risksOf, transportRisks } from './transport-risks.js';
import type { Transports } from './transport-risks.js';

const local: Transports = {
  http: { host: '127.0.0.1', isTls: false },
  nats: { urls: ['nats://127.0.0.1:4222'], isTls: false, isAuthenticated: false },
  databaseUrls: ['postgresql://u:p@localhost:5432/ironflow'],
};
const nats = (urls: string[], more: Partial<Transports['nats']> = {}): Transports => ({
  ...local,
  nats: { ...local.nats, urls, ...more },
});
const postgres = (url: string): Transports => ({ ...local, databaseUrls: [...local.databaseUrls, url] });

test.each<[string, Transports, string[]]>([
  ['one machine', local, []],
  ['a guest that listens on nothing', { ...local, http: undefined }, []],
  ['every interface', { ...local, http: { host: '0.0.0.0', isTls: false } }, ['plain-http']],
  ['every interface, of IPv6', { ...local, http: { host: '::', isTls: false } }, ['plain-http']],
  ['every interface, by TLS', { ...local, http: { host: '0.0.0.0', isTls: true } }, []],
  ['servers elsewhere', nats(['nats://nats:4222']), ['plain-nats', 'anonymous-nats']],
  ['one server elsewhere', nats(['127.0.0.1', 'nats-1:4222'], { isAuthenticated: true }), ['plain-nats']],
  ['servers elsewhere, by TLS', nats(['tls://nats:4222'], { isTls: true }), ['anonymous-nats']],
  ['servers elsewhere, protected', nats(['tls://nats'], { isTls: true, isAuthenticated: true }), []],
  [
    'a name that only looks local',
    nats(['nats://127.evil.example:4222'], { isTls: true }),
    ['anonymous-nats'],
  ],
  ['a database elsewhere', postgres('postgresql://u:p@db/ironflow'), ['plain-postgres']],
  ['one that is not verified', postgres('postgresql://u:p@db/i?sslmode=no-verify'), ['plain-postgres']],
  ['one that may do without', postgres('postgresql://u:p@db/i?sslmode=prefer'), ['plain-postgres']],
  ['one that is verified', postgres('postgresql://u:p@db/i?sslmode=verify-full&sslrootcert=/ca.pem'), []],
  ['a socket', postgres('postgresql:///ironflow?host=/var/run/postgresql'), []],
  ['one named besides', postgres('postgresql://u:p@localhost/i?host=db'), ['plain-postgres']],
])('%s', (_what, transports, risks) => {
  expect(risksOf(transports)).toEqual(risks);
});

test('what is told names each risk, what to do, and how it is accepted, but no address', () => {
  const text = describeRisks(transportRisks);
  for (const risk of transportRisks) expect(text).toContain(`${risk}: `);
  expect(text).toContain(`IRONFLOW_ACCEPT_RISKS=${transportRisks.join(',')}`);
});
