import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { z } from 'zod';
import {
  auditedFields,
  auditEntryText,
  auditGenesis,
  auditHash,
  checkAuditEnd,
  checkAuditEntries,
  noAuditEntries,
} from './audit.js';
import type { AuditEntry, AuditVerdict } from './audit.js';
import { limits } from './limits.js';
import { routes } from './routes.js';
import type { Route } from './routes.js';

const environmentId = '01890000-0000-7000-8000-000000000000';

function entry(sequence: number, previousHash: string, changes: Partial<AuditEntry> = {}): AuditEntry {
  const unhashed: AuditEntry = {
    environmentId,
    sequence,
    occurredAt: '2030-01-01T00:00:00.000Z',
    actor: { kind: 'key', id: 'k' },
    action: 'run.cancel',
    target: { kind: 'runs', id: 'r' },
    outcome: 'done',
    count: 1,
    details: {},
    previousHash,
    hash: '',
    ...changes,
  };
  return { ...unhashed, hash: auditHash(unhashed) };
}

function chain(length: number): AuditEntry[] {
  const entries: AuditEntry[] = [];
  for (let sequence = 1; sequence <= length; sequence += 1) {
    entries.push(entry(sequence, entries.at(-1)?.hash ?? auditGenesis, { requestId: `request-${sequence}` }));
  }
  return entries;
}

const check = (entries: readonly AuditEntry[]): AuditVerdict => checkAuditEntries(noAuditEntries, entries);

test('what is hashed is canonical: keys sorted, nothing of what is absent, the hash left out', () => {
  expect(auditEntryText(entry(1, auditGenesis, { details: { b: [1], a: '€\n' } }))).toBe(
    `{"action":"run.cancel","actor":{"id":"k","kind":"key"},"count":1,"details":{"a":"€\\n","b":[1]},"environmentId":"${environmentId}",` +
      `"occurredAt":"2030-01-01T00:00:00.000Z","outcome":"done","previousHash":"${auditGenesis}","sequence":1,"target":{"id":"r","kind":"runs"}}`,
  );
});

describe('a chain', () => {
  test('is in order in whatever batches it is checked', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { maxLength: 6 }), (sizes) => {
        const entries = chain(sizes.reduce((sum, size) => sum + size, 0));
        let verdict = noAuditEntries;
        let from = 0;
        for (const size of sizes) verdict = checkAuditEntries(verdict, entries.slice(from, (from += size)));
        expect(verdict).toEqual({
          ok: true,
          entries: entries.length,
          head: entries.at(-1)?.hash ?? auditGenesis,
        });
      }),
    );
  });

  test('shows whatever is altered in one entry, and which', () => {
    const changes: Partial<AuditEntry>[] = [
      { occurredAt: '2030-01-01T00:00:00.001Z' },
      { actor: { kind: 'key', id: 'other' } },
      { action: 'run.rerun' },
      { target: { kind: 'runs' } },
      { address: '127.0.0.1' },
      { outcome: 'refused' },
      { count: 2 },
      { details: { count: 1 } },
      { environmentId: '01890000-0000-7000-8000-000000000001' },
      { previousHash: auditGenesis },
    ];
    for (const change of changes) {
      const entries = chain(4).map((one) => (one.sequence === 3 ? { ...one, ...change } : one));
      expect(check(entries)).toMatchObject({
        ok: false,
        entries: 2,
        firstBroken: { sequence: 3, reason: 'altered' },
      });
    }
  });

  test('shows an entry that was removed, and two that changed places', () => {
    const [first, second, third, fourth] = chain(4) as [AuditEntry, AuditEntry, AuditEntry, AuditEntry];
    expect(check([first, third, fourth]).firstBroken).toEqual({ sequence: 2, reason: 'missing' });
    expect(check([second, third, fourth]).firstBroken).toEqual({ sequence: 1, reason: 'missing' });
    const swapped = [first, { ...third, sequence: 2 }, { ...second, sequence: 3 }, fourth];
    expect(check(swapped).firstBroken).toEqual({ sequence: 2, reason: 'altered' });
  });

  test('shows an entry that was written anew, by the one that follows it', () => {
    const [first, second, third] = chain(3) as [AuditEntry, AuditEntry, AuditEntry];
    const rewritten = entry(2, first.hash, { action: 'run.rerun' });
    expect(rewritten.hash).not.toBe(second.hash);
    expect(check([first, rewritten, third]).firstBroken).toEqual({ sequence: 3, reason: 'unlinked' });
  });

  test('is seen to be cut short only against where it ended', () => {
    const entries = chain(5);
    const end = { sequence: 5, hash: entries[4]!.hash };
    const cut = check(entries.slice(0, 3));
    expect(cut.ok).toBe(true);
    expect(checkAuditEnd(cut, undefined).ok).toBe(true);
    expect(checkAuditEnd(cut, end)).toMatchObject({ firstBroken: { sequence: 4, reason: 'missing' } });
    expect(checkAuditEnd(check(entries), end).ok).toBe(true);
    const other = checkAuditEnd(check(entries), { sequence: 5, hash: auditGenesis });
    expect(other).toMatchObject({ ok: false, firstBroken: { sequence: 5, reason: 'unlinked' } });
  });
});

test('of what was sent the log gets names that the route knows, and neither values nor names of the caller’s own', () => {
  const known = z.strictObject({ id: z.string(), secret: z.string().optional() });
  const body = { secret: 'hunter2', id: 'x', 'card 4111': 1 };
  expect(auditedFields(known, body)).toEqual(['id', 'secret']);
  expect(auditedFields(known.nullish(), body)).toEqual(['id', 'secret']);
  expect(auditedFields(z.record(z.string(), z.string()), body)).toEqual([]);
  for (const nothing of [undefined, null, 'text', 7]) expect(auditedFields(known, nothing)).toEqual([]);
  expect(auditedFields(undefined, body)).toEqual([]);
  const many = Object.fromEntries(Array.from({ length: 99 }, (_, index) => [`field${index}`, z.string()]));
  expect(auditedFields(z.object(many), many)).toHaveLength(limits.auditedFieldsMax);
});

/** What runs of functions do all day, and is kept as events, signals and messages. */
const notAudited = {
  emitEvents: 'each is stored as an event with its time and source',
  invokeFunction: 'stored as an event',
  signalRun: 'kept with the run',
  publishMessage: 'a message of the application, kept for days',
  readSecrets: 'changes nothing, and processes that run functions do it every 30 s',
  putKvKey: 'functions do it all day; the bucket keeps its history',
  deleteKvKey: 'functions do it all day; the bucket keeps its history',
  receiveWebhook: 'in the log of deliveries',
};

test('every route that is not only read is in the audit log, or has a reason not to be', () => {
  const unaudited = Object.entries<Route>(routes)
    .filter(([, { method, audit }]) => method !== 'GET' && audit === undefined)
    .map(([name]) => name);
  expect(unaudited.sort()).toEqual(Object.keys(notAudited).sort());
  const read = Object.values<Route>(routes).filter(({ method }) => method === 'GET');
  // Of what is read only all of it at once: whoever takes that away is to be found.
  expect(read.filter(({ audit }) => audit !== undefined)).toEqual([routes.exportTable]);
});
