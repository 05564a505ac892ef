import { expect, test } from '@jest/globals';
import type { JournalMessage, RunEntry } from '@ironflow/schema';
import { readCallReport } from './call-report.js';

const environmentId = '0190a000-0000-7000-8000-000000000001';
const call = { endpoint: 'https://shop.test/api', succeeded: false, probe: 1 };

function messageWith(...entries: JournalMessage['entries']): Uint8Array {
  const message: JournalMessage = {
    environmentId,
    runId: '0190a000-0000-7000-8000-000000000002',
    functionId: 'charge',
    prev: 0,
    writer: { activation: 1, delivery: 1, executor: 'executor-1' },
    activatedAtMs: 0,
    entries,
  };
  return new TextEncoder().encode(JSON.stringify(message));
}

const runEntry = (run: RunEntry): JournalMessage['entries'][number] => ({ type: 'run', run });

test.each<[string, RunEntry]>([
  ['yielded', { kind: 'yielded', served: 1, call }],
  ['completed', { kind: 'completed', served: 1, call, output: '{"ok":true}' }],
  ['failed', { kind: 'failed', served: 1, call, error: { name: 'Error', message: 'no' } }],
  [
    'call_failed',
    {
      kind: 'call_failed',
      served: 1,
      call,
      retry: { attempt: 1, inMs: 0, error: { name: 'E', message: '' } },
    },
  ],
])('an entry that says %s reports its call', (_kind, run) => {
  expect(readCallReport(messageWith(runEntry(run)))).toEqual({
    kind: 'call',
    environmentId,
    functionId: 'charge',
    call,
  });
});

test('entries before the last one do not hide the call', () => {
  const step = {
    type: 'step',
    step: {
      id: 'a',
      name: 'a',
      type: 'run',
      attempt: 1,
      status: 'completed',
      output: '"call":',
      startedAtMs: 0,
      endedAtMs: 1,
    },
  } as JournalMessage['entries'][number];
  expect(readCallReport(messageWith(step, runEntry({ kind: 'completed', served: 1, call }))).kind).toBe(
    'call',
  );
});

test('an entry without a call has nothing to report, whatever stands in its output', () => {
  const output = JSON.stringify({ call: { endpoint: 'x', succeeded: false } });
  expect(readCallReport(messageWith(runEntry({ kind: 'started' }))).kind).toBe('nothing');
  expect(readCallReport(messageWith(runEntry({ kind: 'completed', served: 1, output }))).kind).toBe(
    'nothing',
  );
});

test('an entry of a kind to come is read if it has a call', () => {
  const text = JSON.stringify({
    environmentId,
    functionId: 'charge',
    entries: [{ type: 'run', run: { kind: 'paused', call } }],
  });
  expect(readCallReport(new TextEncoder().encode(text)).kind).toBe('call');
});

test('what is no journal message is told apart', () => {
  expect(readCallReport(new TextEncoder().encode('{"call":')).kind).toBe('unreadable');
  expect(readCallReport(new TextEncoder().encode('{"call":1}')).kind).toBe('unreadable');
});
