import { createServer } from 'node:http';
import type { LookupAddress } from 'node:dns';
import { afterAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  createLookup,
  parseAddressRange,
  RefusedAddress,
  refusalOf,
  refusalOfHost,
} from './outbound-rules.js';
import { createPushCaller } from './push-call.js';

const nothing = { allowed: [], isSecure: true };

test.each([
  ['loopback', ['127.0.0.1', '127.255.255.254', '::1', '0.0.0.0', '::']],
  ['private', ['10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fd00::1', 'fc00::1', 'fec0::1']],
  ['link-local, where clouds tell their machines secrets', ['169.254.169.254', 'fe80::1', 'fd00:ec2::254']],
  ['of a provider, shared', ['100.64.0.1', '100.127.255.255']],
  ['IPv4 within IPv6', ['::ffff:127.0.0.1', '::ffff:169.254.169.254', '::ffff:0a00:1', '::127.0.0.1']],
  [
    'IPv4 behind a translator or tunnel',
    ['64:ff9b::7f00:1', '2002:7f00:1::', '2001::1', '::ffff:0:127.0.0.1'],
  ],
  ['for documentation and tests', ['192.0.2.1', '198.18.0.1', '203.0.113.5', '2001:db8::1']],
  ['of many', ['224.0.0.1', '255.255.255.255', 'ff02::1']],
  ['no address', ['localhost', '', '999.1.1.1']],
])('an address that is %s is not called', (_what, addresses) => {
  for (const address of addresses) expect([address, refusalOf(address, nothing)]).not.toContain(undefined);
});

test('a public one is called by https, and otherwise only where it is allowed', () => {
  const allowed = [parseAddressRange('8.8.8.0/24')!];
  for (const address of ['8.8.8.8', '2606:4700::1111', '::ffff:8.8.8.8']) {
    expect(refusalOf(address, nothing)).toBeUndefined();
    expect(refusalOf(address, { allowed: [], isSecure: false })).toMatch(/https/);
  }
  expect(refusalOf('8.8.8.8', { allowed, isSecure: false })).toBeUndefined();
  expect(refusalOf('8.8.9.8', { allowed, isSecure: false })).toMatch(/https/);
});

test('what is allowed is exactly the range, in either form of an address', () => {
  const allowed = [parseAddressRange('10.1.0.0/16')!];
  const octet = fc.integer({ min: 0, max: 255 });
  fc.assert(
    fc.property(fc.constantFrom(0, 1, 2), octet, octet, fc.boolean(), (second, third, fourth, mapped) => {
      const address = `${mapped ? '::ffff:' : ''}10.${second}.${third}.${fourth}`;
      expect(refusalOf(address, { allowed, isSecure: false }) === undefined).toBe(second === 1);
    }),
  );
});

test.each(['', '10.0.0.0/33', 'example.com', '10.0.0.0/', '*'])('%j is no range', (text) => {
  expect(parseAddressRange(text)).toBeUndefined();
});

test('hosts that are addresses are refused before anybody is asked, in brackets as well', () => {
  for (const host of ['127.0.0.1', '[::1]', '::1', '[::ffff:10.0.0.1]']) {
    expect(refusalOfHost(host, nothing)).toBeInstanceOf(RefusedAddress);
  }
  expect(refusalOfHost('example.com', nothing)).toBeUndefined();
  // However it is written, a URL has it in one form.
  for (const url of [
    'https://2130706433/',
    'https://0x7f.1/',
    'https://017700000001/',
    'https://[0:0::1]/',
  ]) {
    expect(refusalOfHost(new URL(url).hostname, nothing)).toBeInstanceOf(RefusedAddress);
  }
});

function lookUp(answers: LookupAddress[], all: boolean): Promise<string | LookupAddress[]> {
  return new Promise((resolve, reject) => {
    createLookup(nothing, (_host, _options, callback) => callback(null, answers))(
      'name.test',
      { all },
      (error, address) => (error === null ? resolve(address) : reject(error)),
    );
  });
}

const publicOne = { address: '8.8.8.8', family: 4 };
const hidden = { address: '169.254.169.254', family: 4 };

test('a name is connected to at the addresses that were looked at, and at none if one of them is refused', async () => {
  expect(await lookUp([publicOne], false)).toBe('8.8.8.8');
  expect(await lookUp([publicOne], true)).toEqual([publicOne]);
  for (const all of [true, false]) {
    await expect(lookUp([publicOne, hidden], all)).rejects.toBeInstanceOf(RefusedAddress);
  }
});

const reached: string[] = [];
const server = createServer((request, response) => {
  reached.push(request.url!);
  response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data' }).end();
});
const port = await new Promise<number>((resolve) =>
  server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port)),
);
const callers = {
  strict: createPushCaller({ allowed: [] }),
  local: createPushCaller({ allowed: [parseAddressRange('127.0.0.0/8')!, parseAddressRange('::1')!] }),
};
afterAll(async () => {
  await Promise.all(Object.values(callers).map((caller) => caller.close()));
  await new Promise((resolve) => server.close(resolve));
});

function call(caller: 'strict' | 'local', url: string) {
  const runId = '0190a000-0000-7000-8000-000000000001';
  const event = { id: runId, name: 'test', data: 'null', receivedAtMs: 1, correlationId: runId };
  return callers[caller].call({
    ...{ url, id: 'call-1', signingKeys: [], signedAnswers: false, trace: undefined, timeoutMs: 10_000 },
    invocation: { v: 1, run: { id: runId, functionId: 'f', attempt: 1 }, event, memo: [] },
    signal: new AbortController().signal,
  });
}

test('the platform’s own network is not reached by a call, by name or address, and says why', async () => {
  for (const host of ['127.0.0.1', 'localhost', '[::ffff:127.0.0.1]', '2130706433']) {
    expect(await call('strict', `http://${host}:${port}/in`)).toEqual({
      kind: 'failed',
      error: {
        name: 'address_refused',
        message: 'the endpoint must not be called: its address is not a public one',
      },
      mayStillRun: false,
    });
  }
  expect(reached).toEqual([]);
});

test('where it is allowed the call is made, and a redirect is not followed', async () => {
  const answer = await call('local', `http://localhost:${port}/in`);
  expect(answer).toMatchObject({ kind: 'failed', error: { name: 'bad_status' } });
  expect(reached).toEqual(['/in']);
});
