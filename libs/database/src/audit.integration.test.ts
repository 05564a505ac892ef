/** The audit log over real PostgreSQL: what is written is what is hashed, and whoever changes it is seen. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { auditGenesis, auditHash, auditQuerySchema } from '@ironflow/schema';
import type { AuditEntry, AuditVerdict, Scope } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createAuditStore, createTenantStore } from './index.js';
import type { AuditStore, NewAuditEntry } from './index.js';

let platform: Platform;
let audit: AuditStore;

beforeAll(async () => {
  platform = await createPlatform();
  audit = createAuditStore(platform.tenant);
});
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

function newEntry(changes: Partial<NewAuditEntry> = {}): NewAuditEntry {
  return {
    actor: { kind: 'key', id: freshId() },
    action: 'run.cancel',
    target: { kind: 'runs', id: freshId() },
    address: '192.0.2.1',
    requestId: 'request',
    outcome: 'done',
    count: 1,
    details: { fields: ['name'] },
    ...changes,
  };
}

async function freshScope(): Promise<Scope> {
  const tenants = createTenantStore(platform.service, platform.secrets);
  const project = `p${freshId().slice(-12)}`;
  return (await tenants.createEnvironment({ organization: project, project, env: 'prod' })).scope;
}

async function filled(count: number): Promise<Scope> {
  const scope = await freshScope();
  for (let index = 0; index < count; index += 1) await audit.append(scope.environmentId, newEntry());
  return scope;
}

const listed = async (environmentId: string, query: Record<string, unknown> = {}): Promise<AuditEntry[]> =>
  (await audit.list(environmentId, auditQuerySchema.parse(query))).entries;

/** As who owns the database, around everything that keeps services from it. */
async function tamper(text: string, environmentId: string): Promise<AuditVerdict> {
  const { rowCount } = await platform.admin.query(text, [environmentId]);
  expect(rowCount).toBeGreaterThan(0);
  return audit.verify(environmentId);
}

test('Postgres hashes the canonical JSON of an entry, whatever text is in it', async () => {
  const { environmentId } = await freshScope();
  const text = fc.string({ unit: 'binary', maxLength: 40 }).filter((value) => !value.includes('\u0000'));
  const given = fc.record({
    actorId: text,
    action: text,
    target: fc.record({ kind: text, id: text }, { requiredKeys: ['kind'] }),
    optional: fc.record({ address: text, requestId: text, code: text }, { requiredKeys: [] }),
    count: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    details: fc.dictionary(text, fc.oneof(text, fc.integer(), fc.boolean(), fc.array(text))),
  });
  let expected = 0;
  await fc.assert(
    fc.asyncProperty(given, async ({ actorId, action, target, optional, count, details }) => {
      const actor = { kind: 'system', id: actorId } as const;
      const entry = { actor, action, target, count, details, outcome: 'refused', ...optional } as const;
      const sequence = await audit.append(environmentId, entry);
      expect(sequence).toBe((expected += 1));
      const [stored] = await listed(environmentId, { limit: 1 });
      expect(stored).toMatchObject({ ...entry, environmentId, sequence });
      expect(auditHash(stored!)).toBe(stored!.hash);
    }),
    { numRuns: 60 },
  );
  expect(await audit.verify(environmentId)).toMatchObject({ ok: true, entries: expected });
});

test('entries that come at once are one chain without gaps', async () => {
  const { environmentId } = await freshScope();
  const sequences = await Promise.all(
    Array.from({ length: 40 }, () => audit.append(environmentId, newEntry())),
  );
  expect(sequences.sort((one, other) => one - other)).toEqual(
    Array.from({ length: 40 }, (_, index) => index + 1),
  );
  const verdict = await audit.verify(environmentId);
  expect(verdict).toMatchObject({ ok: true, entries: 40 });
  const entries = await listed(environmentId, { order: 'oldest' });
  expect(entries[0]!.previousHash).toBe(auditGenesis);
  expect(verdict.head).toBe(entries.at(-1)!.hash);
});

test('an empty log is in order', async () => {
  const { environmentId } = await freshScope();
  expect(await audit.verify(environmentId)).toEqual({ ok: true, entries: 0, head: auditGenesis });
});

test('a log of more entries than are read together is verified whole', async () => {
  const { environmentId } = await freshScope();
  await platform.service.inEnvironment(environmentId, (transaction) =>
    transaction.query(
      {
        name: '',
        text: `select append_audit_entry('system', 'test', 'a.b', 'runs', null, null, null, 'done', null, 1, '{}')
          from generate_series(1, 1005)`,
      },
      [],
    ),
  );
  expect(await audit.verify(environmentId)).toMatchObject({ ok: true, entries: 1_005 });
  const verdict = await tamper(
    `update audit_entries set action = 'c.d' where environment_id = $1 and sequence = 1003`,
    environmentId,
  );
  expect(verdict).toMatchObject({ entries: 1_002, firstBroken: { sequence: 1_003, reason: 'altered' } });
});

test('whoever owns the database and changes an entry, removes one or swaps two is seen, with the entry', async () => {
  const altered = await filled(5);
  expect(
    await tamper(
      `update audit_entries set actor_id = 'somebody else' where environment_id = $1 and sequence = 4`,
      altered.environmentId,
    ),
  ).toMatchObject({ ok: false, entries: 3, firstBroken: { sequence: 4, reason: 'altered' } });
  const removed = await filled(5);
  expect(
    await tamper(
      'delete from audit_entries where environment_id = $1 and sequence = 2',
      removed.environmentId,
    ),
  ).toMatchObject({ ok: false, firstBroken: { sequence: 2, reason: 'missing' } });
  const swapped = await filled(5);
  await tamper(
    'update audit_entries set sequence = sequence + 100 where environment_id = $1 and sequence in (2, 3)',
    swapped.environmentId,
  );
  expect(
    await tamper(
      `update audit_entries set sequence = 105 - sequence where environment_id = $1 and sequence in (102, 103)`,
      swapped.environmentId,
    ),
  ).toMatchObject({ ok: false, firstBroken: { sequence: 2, reason: 'altered' } });
});

test('a log that is cut short is seen against its head; if that is changed as well, only against one that was remembered', async () => {
  const { environmentId } = await filled(5);
  const { head } = await audit.verify(environmentId);
  const cut = await tamper(
    'delete from audit_entries where environment_id = $1 and sequence > 3',
    environmentId,
  );
  expect(cut).toMatchObject({ ok: false, firstBroken: { sequence: 4, reason: 'missing' } });
  const hidden = await tamper(
    `update audit_heads h set sequence = e.sequence, hash = e.hash from audit_entries e
      where h.environment_id = $1 and e.environment_id = h.environment_id and e.sequence = 3`,
    environmentId,
  );
  expect(hidden.ok).toBe(true);
  expect((await listed(environmentId)).map(({ hash }) => hash)).not.toContain(head);
});

test('neither role changes or removes an entry, or writes one by itself', async () => {
  const { environmentId } = await filled(1);
  const statements = [
    `update audit_entries set action = 'x'`,
    'delete from audit_entries',
    'truncate audit_entries',
    'insert into audit_entries select * from audit_entries',
    'update audit_heads set sequence = 0',
    'delete from audit_heads',
    `insert into audit_heads values ('${environmentId}', 0, '')`,
  ];
  for (const database of [platform.service, platform.tenant]) {
    for (const text of statements) {
      const attempt = database.inEnvironment(environmentId, (transaction) =>
        transaction.query({ name: '', text }, []),
      );
      await expect(attempt).rejects.toMatchObject({ code: '42501' });
    }
  }
});

test('an entry goes into the log of the environment that is set, and without one nowhere', async () => {
  const ours = await filled(1);
  const theirs = await filled(2);
  expect(await listed(ours.environmentId)).toHaveLength(1);
  expect(await listed(theirs.environmentId)).toHaveLength(2);
  await expect(
    platform.tenant.query(
      {
        name: '',
        text: `select append_audit_entry('key', 'k', 'a.b', 'runs', null, null, null, 'done', null, 1, '{}')`,
      },
      [],
    ),
  ).rejects.toThrow('no environment is set');
});

test('entries are found by action, actor, outcome and time, in pages of both orders', async () => {
  const { environmentId } = await freshScope();
  const actor = { kind: 'key', id: 'the key' } as const;
  await audit.append(environmentId, newEntry());
  await audit.append(environmentId, newEntry({ actor }));
  await audit.append(environmentId, newEntry({ action: 'app.register' }));
  await audit.append(environmentId, newEntry({ outcome: 'refused', code: 'role_insufficient', count: 7 }));
  const sequences = async (query: Record<string, unknown>): Promise<number[]> =>
    (await listed(environmentId, query)).map(({ sequence }) => sequence);
  expect(await sequences({})).toEqual([4, 3, 2, 1]);
  expect(await sequences({ order: 'oldest' })).toEqual([1, 2, 3, 4]);
  expect(await sequences({ actor: actor.id })).toEqual([2]);
  expect(await sequences({ action: 'app.register' })).toEqual([3]);
  expect(await sequences({ outcome: 'refused' })).toEqual([4]);
  const [third] = await listed(environmentId, { action: 'app.register' });
  expect(await sequences({ to: third!.occurredAt })).not.toContain(3);
  expect(await sequences({ from: third!.occurredAt })).toEqual(expect.arrayContaining([4, 3]));
  for (const order of ['newest', 'oldest']) {
    const query = auditQuerySchema.parse({ limit: 3, order });
    const first = await audit.list(environmentId, query);
    const rest = await audit.list(environmentId, { ...query, cursor: first.nextCursor });
    expect([...first.entries, ...rest.entries]).toHaveLength(4);
    expect(rest.nextCursor).toBeUndefined();
  }
  for (const cursor of ['x', '0', '-1', '1e3', '9'.repeat(20)]) {
    await expect(audit.list(environmentId, auditQuerySchema.parse({ cursor }))).rejects.toMatchObject({
      code: 'cursor_invalid',
    });
  }
});

test('a log is erased whole, by the platform alone, and one that begins again begins at the beginning', async () => {
  const { environmentId } = await filled(3);
  const erase = { name: '', text: 'select erase_audit_entries($1)' };
  await expect(platform.tenant.query(erase, [environmentId])).rejects.toMatchObject({ code: '42501' });
  await platform.service.query(erase, [environmentId]);
  expect(await audit.verify(environmentId)).toMatchObject({ ok: true, entries: 0 });
  expect(await audit.append(environmentId, newEntry())).toBe(1);
});
