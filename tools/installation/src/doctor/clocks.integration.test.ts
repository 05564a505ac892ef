/**
 * Clocks that are wrong, seen by `doctor --installation`. PostgreSQL runs under libfaketime where that is installed or can be fetched, and
 * answers a shifted time otherwise. A nats-server is a Go program, which no such library reaches: what it says of its time is shifted on the
 * way.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createScratch, startPostgres } from '@ironflow/testing';
import type { PostgresServer, Scratch } from '@ironflow/testing';
import { failuresOf, migrated, startInstallation } from '../testing/installation.js';
import type { Installation } from '../testing/installation.js';

const hourMs = 3_600_000;
let sound: Installation;
let scratch: Scratch;
beforeAll(async () => {
  scratch = await createScratch('clocks');
  sound = await startInstallation();
}, 120_000);
afterAll(async () => {
  await sound?.stop();
  await scratch?.remove();
});

function libraryBelow(root: string): string | undefined {
  const entries = (folder: string): string[] => {
    try {
      return readdirSync(folder).map((name) => join(folder, name));
    } catch {
      return [];
    }
  };
  return entries(join(root, 'usr/lib'))
    .flatMap((folder) => entries(join(folder, 'faketime')))
    .find((path) => path.endsWith('libfaketime.so.1'));
}

/** As it is installed, or fetched from where the system gets its packages. */
function findFaketime(): string | undefined {
  const installed = libraryBelow('/');
  if (installed !== undefined) return installed;
  const fetch = 'apt-get download -q libfaketime && dpkg -x libfaketime_*.deb unpacked';
  spawnSync('sh', ['-c', fetch], { cwd: scratch.path, stdio: 'ignore', timeout: 60_000 });
  return libraryBelow(scratch.file('unpacked'));
}

async function startAhead(library: string | undefined): Promise<PostgresServer> {
  const changes =
    library === undefined ? {} : { LD_PRELOAD: library, FAKETIME: '+1h', FAKETIME_DONT_FAKE_MONOTONIC: '1' };
  Object.assign(process.env, changes);
  try {
    return await startPostgres({ dataDir: scratch.file('ahead') });
  } finally {
    for (const name of Object.keys(changes)) delete process.env[name];
  }
}

test('PostgreSQL is an hour ahead', async () => {
  const library = findFaketime();
  const postgres = await startAhead(library);
  try {
    const { env, admin } = await migrated(postgres.url);
    if (library === undefined) {
      for (const text of [
        'create schema shifted',
        'grant usage on schema shifted to public',
        `create function shifted.clock_timestamp() returns timestamptz language sql
          return pg_catalog.clock_timestamp() + interval '1 hour'`,
        'alter role ironflow_service set search_path = shifted, pg_catalog, public',
      ]) {
        await admin.query({ name: '', text }, []);
      }
    }
    await admin.close();
    const given = { ...env, NATS_URL: sound.nats.url };
    expect(await failuresOf(given)).toEqual([
      expect.stringMatching(/^clocks: the clock of PostgreSQL is ahead by (3599|3600|3601) s: .*NTP/),
    ]);
  } finally {
    await postgres.kill();
  }
}, 120_000);

/** The server's own words but for the time, of the same length. */
function shifted(text: string): string {
  return text.replaceAll(/"ts":"([^".Z]+)/g, (_found, time: string) => {
    const later = new Date(Date.parse(`${time}Z`) + hourMs).toISOString().slice(0, time.length);
    return `"ts":"${later}`;
  });
}

async function proxyOf(port: number): Promise<Server> {
  const proxy = createServer((client) => {
    const server = connect(port, '127.0.0.1');
    client.pipe(server);
    server.on('data', (chunk) => client.write(shifted(chunk.toString('latin1')), 'latin1'));
    for (const socket of [client, server]) {
      socket.on('error', () => undefined);
      socket.on('close', () => void [client, server].forEach((one) => one.destroy()));
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return proxy;
}

test('a nats-server is an hour ahead', async () => {
  const proxy = await proxyOf(sound.nats.port);
  try {
    const NATS_URL = `nats://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    expect(await failuresOf({ ...sound.env, NATS_URL })).toEqual([
      expect.stringMatching(/^clocks: the clock of nats-server ironflow-\d+ is ahead by (3599|3600|3601) s/),
    ]);
  } finally {
    proxy.close();
  }
}, 60_000);

test('the platform, or this machine, is an hour off', async () => {
  const reading = { name: 'the platform', aheadMs: -hourMs, uncertaintyMs: 600 };
  expect(await failuresOf(sound.env, [reading])).toEqual([
    expect.stringMatching(/^clocks: the clock of the platform is behind by (3599|3600|3601) s/),
  ]);
}, 60_000);
