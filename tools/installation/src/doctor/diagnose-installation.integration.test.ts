/** `doctor --installation` against real servers that are really broken: each time it names the cause, and nothing else. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connectAccountResolver, connectJetStream } from '@ironflow/jetstream';
import {
  createAccountKeys,
  encodeTenantAccount,
  initNats,
  parseAccountsFile,
  readOperatorServerConfig,
} from '@ironflow/nats-accounts';
import { createScratch, eventually, freePort, startNatsCluster, startNatsServer } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { failuresOf, startInstallation } from '../testing/installation.js';
import type { Installation } from '../testing/installation.js';
import { diagnoseInstallation } from './diagnose-installation.js';

let sound: Installation;
let scratch: Scratch;
beforeAll(async () => {
  scratch = await createScratch('doctor');
  sound = await startInstallation();
}, 120_000);
afterAll(async () => {
  await sound?.stop();
  await scratch?.remove();
});

const asAdmin = <Row>(text: string): Promise<Row[]> => sound.admin.query<Row>({ name: '', text }, []);
const failures = (changes: NodeJS.ProcessEnv = {}) => failuresOf({ ...sound.env, ...changes });

/** With what `breaking` has broken, and put right afterwards. */
async function whileBroken(breaking: string, mending: string): Promise<string[]> {
  await asAdmin(breaking);
  try {
    return await failures();
  } finally {
    await asAdmin(mending);
  }
}

async function streamNames(): Promise<string[]> {
  const jetstream = await connectJetStream({ url: sound.nats.url, name: 'test', replicas: 1 });
  try {
    const reply = await jetstream.connection.request({ subject: '$JS.API.STREAM.NAMES', data: '' });
    if (reply.kind !== 'message') throw new Error(reply.kind);
    return (JSON.parse(new TextDecoder().decode(reply.data)) as { streams: string[] }).streams.sort();
  } finally {
    await jetstream.close();
  }
}

test('an installation that is as it should be is told to be, and is left as it was', async () => {
  const before = await streamNames();
  const findings = await diagnoseInstallation({ env: sound.env, clocks: [] });
  expect(findings.map(({ check, result }) => `${result} ${check}`)).toEqual([
    'ok nats',
    'ok jetstream',
    'ok streams',
    'ok postgres',
    'ok postgres of tenants',
    'ok master key',
    'ok clocks',
  ]);
  expect(await streamNames()).toEqual(before);
  const [left] = await asAdmin<{ count: number }>(
    `select count(*)::int as count from pg_stat_activity where application_name = 'ironflow-doctor'`,
  );
  expect(left!.count).toBe(0);
}, 60_000);

test('what is not given is said, and what is wrongly given is named without its value', async () => {
  const { DATABASE_URL, NATS_URL } = sound.env;
  const findings = await diagnoseInstallation({ env: { DATABASE_URL, NATS_URL }, clocks: [] });
  expect(findings[0]).toMatchObject({
    result: 'note',
    detail: expect.stringContaining('IRONFLOW_MASTER_KEY'),
  });
  expect(await failures({ DATABASE_URL: 'mysql://hunter2@x/y' })).toEqual([
    expect.stringMatching(/^variables: .*DATABASE_URL: must be a postgresql:\/\/ URL/),
  ]);
}, 60_000);

describe('NATS', () => {
  test('nobody listens', async () => {
    const NATS_URL = `nats://127.0.0.1:${await freePort()}`;
    expect(await failures({ NATS_URL })).toEqual([
      expect.stringMatching(new RegExp(`^nats: ${NATS_URL} cannot be reached`)),
    ]);
  }, 60_000);

  test('a server without JetStream', async () => {
    const server = await startNatsServer({ storeDir: scratch.file('without'), jetstream: false });
    try {
      expect(await failures({ NATS_URL: server.url })).toEqual([
        expect.stringMatching(/^jetstream: the server \S+ has no JetStream .*turn it on/),
      ]);
    } finally {
      await server.kill();
    }
  }, 60_000);

  test('credentials that it does not take', async () => {
    const authorization = { user: 'ironflow', password: 'right-hunter2' };
    const server = await startNatsServer({ storeDir: scratch.file('closed'), authorization });
    try {
      const given = { NATS_URL: server.url, NATS_USER: 'ironflow', NATS_PASSWORD: 'wrong-hunter2' };
      expect(await failures(given)).toEqual([expect.stringMatching(/^nats: \S+ refuses the credentials/)]);
    } finally {
      await server.kill();
    }
  }, 60_000);

  test('more replicas are wanted than there are servers', async () => {
    expect(await failures({ IRONFLOW_STREAM_REPLICAS: '3' })).toEqual([
      expect.stringMatching(/^nats: IRONFLOW_STREAM_REPLICAS is 3, and the server is by itself: start 3/),
      expect.stringMatching(/^streams: not as they are wanted: INGEST \(num_replicas\)/),
    ]);
  }, 60_000);

  test('a stream is missing, and one is not as it is wanted', async () => {
    const jetstream = await connectJetStream({ url: sound.nats.url, name: 'test', replicas: 1 });
    await jetstream.connection.request({ subject: '$JS.API.STREAM.DELETE.CANCEL', data: '' });
    try {
      expect(await failures({ IRONFLOW_STREAMS: '{"DLQ":{"maxBytes":1048576}}' })).toEqual([
        expect.stringMatching(/^streams: CANCEL is missing: a service makes them/),
        expect.stringMatching(/^streams: not as they are wanted: DLQ \(max_bytes\); restart a service/),
      ]);
    } finally {
      await jetstream.provisioner.ensure();
      await jetstream.close();
    }
  }, 60_000);

  test('a server in operator mode does not know the account of an environment', async () => {
    const folder = await initNats({
      ...{ folder: scratch.file('operator'), name: 'test', accountsFolder: './accounts' },
    });
    const operator = await readOperatorServerConfig(folder.path);
    const server = await startNatsServer({ storeDir: scratch.file('operated'), operator });
    const { signers, systemCredentials: creds } = parseAccountsFile(await readFile(folder.accounts, 'utf8'));
    const { publicKey } = createAccountKeys();
    await asAdmin(`insert into nats_accounts (environment_id, public_key, data_key_version, sealed)
      select id, '${publicKey}', 1, '' from environments`);
    const given = {
      ...{ NATS_URL: server.url, NATS_CREDS_FILE: folder.platformCreds, NATS_ACCOUNTS_FILE: folder.accounts },
    };
    try {
      expect(await failures(given)).toEqual([
        expect.stringMatching(
          /^nats accounts: the servers do not know the accounts of shop\/prod: the api service/,
        ),
      ]);
      const resolver = await connectAccountResolver({ url: server.url, name: 'test', creds });
      const account = { place: { project: 'shop', env: 'prod' }, publicKey, revokedUsers: [] };
      await resolver.push(await encodeTenantAccount(account, signers));
      await resolver.close();
      expect(await failures(given)).toEqual([]);
    } finally {
      await asAdmin('delete from nats_accounts');
      await server.kill();
    }
  }, 60_000);

  test('servers of a cluster are away', async () => {
    const cluster = await startNatsCluster({ storeDir: scratch.file('cluster') });
    const NATS_URL = cluster.urls.join(',');
    const given = { NATS_URL, IRONFLOW_STREAM_REPLICAS: '3' };
    try {
      const jetstream = await connectJetStream({ url: NATS_URL, name: 'test', replicas: 3 });
      await jetstream.close();
      await eventually(async () => expect(await failures(given)).toEqual([]), { timeoutMs: 60_000 });
      await cluster.servers[2]!.kill();
      await eventually(
        async () =>
          expect(await failures(given)).toEqual([
            expect.stringMatching(/^streams: replicas that are away or behind: .*on ironflow-3/),
          ]),
        { timeoutMs: 60_000 },
      );
      await cluster.servers[1]!.kill();
      await eventually(
        async () => {
          const [first, ...more] = await failures(given);
          expect([first, more]).toEqual([expect.stringMatching(/^jetstream: .*(leader|no answer)/), []]);
        },
        { timeoutMs: 60_000 },
      );
    } finally {
      await cluster.stop();
    }
  }, 240_000);
});

describe('PostgreSQL', () => {
  test('nobody listens, the password is wrong, there is no such database', async () => {
    const changed = (change: (url: URL) => void): NodeJS.ProcessEnv => {
      const url = new URL(sound.env['DATABASE_URL']!);
      change(url);
      return { DATABASE_URL: url.href };
    };
    const port = await freePort();
    const cases: [NodeJS.ProcessEnv, RegExp][] = [
      [changed((url) => (url.port = `${port}`)), /ECONNREFUSED.*is PostgreSQL running there/],
      [changed((url) => (url.password = 'wrong-hunter2')), /the password in the URL is wrong/],
      [changed((url) => (url.pathname = '/nothing')), /create the database/],
    ];
    for (const [env, message] of cases) {
      const [first, ...more] = await failures(env);
      expect([first, more]).toEqual([expect.stringMatching(message), []]);
      expect(first).toMatch(/^postgres: DATABASE_URL, 127\.0\.0\.1:\d+\//);
    }
  }, 60_000);

  test('a login that is superuser', async () => {
    expect(await failures({ DATABASE_URL: sound.postgres.url })).toEqual([
      expect.stringMatching(
        /^postgres: \S+ is a superuser: no row-level security holds for it; use the login ironflow_service/,
      ),
    ]);
  }, 60_000);

  test('logins that have changed places', async () => {
    const { DATABASE_URL, TENANT_DATABASE_URL } = sound.env;
    expect(await failures({ DATABASE_URL: TENANT_DATABASE_URL, TENANT_DATABASE_URL: DATABASE_URL })).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^postgres: ironflow_tenant is not ironflow_service/),
        expect.stringMatching(/^postgres of tenants: ironflow_service is not ironflow_tenant/),
      ]),
    );
  }, 60_000);

  const service = /^postgres: /;
  const broken: [string, string, string, RegExp][] = [
    [
      'a right is missing',
      'revoke select on runs from ironflow_service',
      'grant select on runs to ironflow_service',
      /^postgres: ironflow_service lacks runs: select: grant/,
    ],
    [
      'a function may not be called',
      'revoke execute on function ensure_partitions(text, integer) from ironflow_service',
      'grant execute on function ensure_partitions(text, integer) to ironflow_service',
      /^postgres: ironflow_service lacks ensure_partitions\(\)/,
    ],
    [
      'a right too many',
      'grant delete on audit_entries to ironflow_tenant',
      'revoke delete on audit_entries from ironflow_tenant',
      /^postgres of tenants: ironflow_tenant may more than it should \(audit_entries: delete\): revoke/,
    ],
    [
      'row-level security is not forced',
      'alter table runs no force row level security',
      'alter table runs force row level security',
      /row-level security is not forced on runs/,
    ],
    [
      'a policy is too wide',
      'create policy wide on environments for select to ironflow_tenant using (true)',
      'drop policy wide on environments',
      /^postgres of tenants: it sees environments without saying which is its own/,
    ],
    [
      'row-level security is bypassed',
      'alter role ironflow_service bypassrls',
      'alter role ironflow_service nobypassrls',
      /^postgres: ironflow_service bypasses row-level security/,
    ],
    [
      'commits do not wait for the disk',
      'alter role ironflow_service set synchronous_commit = off',
      'alter role ironflow_service reset synchronous_commit',
      /^postgres: synchronous_commit is off: .*turn it on/,
    ],
    [
      'nothing can be written',
      'alter role ironflow_service set default_transaction_read_only = on',
      'alter role ironflow_service reset default_transaction_read_only',
      /^postgres: it takes no writes: default_transaction_read_only is on/,
    ],
    [
      'connections are few',
      'alter role ironflow_service connection limit 3',
      'alter role ironflow_service connection limit -1',
      /^postgres: \d+ of 3 connections are taken: raise/,
    ],
    [
      'partitions are not made ahead',
      `do $$ begin execute format('alter table %I rename to was_ahead', 'runs' || to_char(now() at time zone 'UTC' + interval '1 month', '"_m"YYYYMM')); end $$`,
      `do $$ begin execute format('alter table was_ahead rename to %I', 'runs' || to_char(now() at time zone 'UTC' + interval '1 month', '"_m"YYYYMM')); end $$`,
      /partitions are not made ahead \(runs_m\d{6}\): a scheduler makes them/,
    ],
    [
      'the schema is older',
      `update _prisma_migrations set rolled_back_at = now() where migration_name > '20261126'`,
      `update _prisma_migrations set rolled_back_at = null`,
      /its schema 2026\S+ is older than this version’s .*run `ironflow migrate`/,
    ],
  ];
  test.each(broken)(
    '%s',
    async (_name, breaking, mending, message) => {
      const found = await whileBroken(breaking, mending);
      expect(found.filter((one) => !message.test(one))).toEqual([]);
      expect(found.length).toBeGreaterThan(0);
      expect(await failures()).toEqual([]);
      expect(service.test(found[0]!) || found[0]!.startsWith('postgres of tenants')).toBe(true);
    },
    60_000,
  );

  test('a newer schema that serves this version is a note', async () => {
    await asAdmin(`insert into _prisma_migrations (id, checksum, migration_name, finished_at)
      values ('future', '', '20991231000000_future', now())`);
    try {
      const findings = await diagnoseInstallation({ env: sound.env, clocks: [] });
      const notes = findings.filter(({ result }) => result === 'note');
      expect(notes.map(({ detail }) => detail)).toEqual(
        Array(2).fill(expect.stringMatching(/^its schema 20991231000000_future is newer .* still serves/)),
      );
    } finally {
      await asAdmin(`delete from _prisma_migrations where id = 'future'`);
    }
  }, 60_000);
});

describe('the master key', () => {
  test('is another one', async () => {
    const IRONFLOW_MASTER_KEY = Buffer.alloc(32, 7).toString('base64');
    expect(await failures({ IRONFLOW_MASTER_KEY })).toEqual([
      expect.stringMatching(
        /^master key: \d+ of \d+ stored keys are wrapped by a master key that is not among/,
      ),
    ]);
    const both = `${IRONFLOW_MASTER_KEY},${sound.env['IRONFLOW_MASTER_KEY']}`;
    expect(await failures({ IRONFLOW_MASTER_KEY: both })).toEqual([]);
  }, 60_000);

  test('cannot open what was altered', async () => {
    const flip = 'update environment_data_keys set sealed = set_byte(sealed, 40, 255 - get_byte(sealed, 40))';
    expect(await whileBroken(flip, flip)).toEqual([
      expect.stringMatching(/^master key: 1 stored keys were altered/),
    ]);
  }, 60_000);
});
