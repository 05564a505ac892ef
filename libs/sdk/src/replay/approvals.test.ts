/** `step.approve`: what is asked, what is recorded, and what must never be. */
import { expect, test } from '@jest/globals';
import type { ApproveOptions } from '../step-tools.js';
import { activate, answer, define, drive, newRun, valueOf } from '../testing/memory-run.js';

const decision = { approved: true, comment: 'fine', decidedAt: '2030-01-31T12:00:00.000Z' };
const asking = (options?: ApproveOptions) => define(({ step }) => step.approve('manager', options), 3);

test('asks with a link of its own, then waits, and goes on with the decision; the link is not recorded', async () => {
  for (const mode of ['pull', 'push'] as const) {
    const memory = newRun();
    const urls: string[] = [];
    const definition = asking({ request: ({ url }) => void urls.push(url), timeout: '2d' });
    let outcome = await activate({ run: memory, definition, mode });
    if (mode === 'push') outcome = await activate({ run: memory, definition, mode });
    expect(outcome).toEqual({ kind: 'yielded' });
    expect(urls).toEqual(['https://ironflow.example/v1/approvals/ifa_1']);
    expect(memory.asked).toEqual(['manager']);
    expect(memory.records).toMatchObject([
      { id: 'manager:request', type: 'run', status: 'completed' },
      {
        id: 'manager',
        type: 'wait_for_signal',
        status: 'waiting',
        awaited: { kind: 'signal', signal: 'ironflow.approval:manager' },
        due: { inMs: 2 * 86_400_000 },
      },
    ]);
    expect(JSON.stringify(memory.records)).not.toContain('ifa_');
    answer(memory, 'manager', decision);
    expect(valueOf(await activate({ run: memory, definition, mode }))).toEqual(decision);
  }
});

test('without anybody to ask it only waits; in vain it resolves with null', async () => {
  const memory = newRun();
  expect(valueOf(await drive({ run: memory, definition: asking() }))).toBe(null);
  expect(memory.records.map(({ id }) => id)).toEqual(['manager']);
  expect(memory.asked).toEqual([]);
});

test('each attempt has a link of its own, and no error shows one', async () => {
  const memory = newRun();
  const urls: string[] = [];
  const definition = asking({
    request: ({ url, attempt }) => {
      urls.push(url);
      if (attempt < 3) throw new Error(`cannot send to ${url}`);
    },
  });
  await drive({ run: memory, definition });
  expect(new Set(urls).size).toBe(3);
  expect(memory.records[0]).toMatchObject({
    status: 'retrying',
    error: { message: 'cannot send to https://ironflow.example/v1/approvals/ifa_…' },
  });
  expect(JSON.stringify(memory.records)).not.toMatch(/ifa_\d/);
});

test('a process that dies before the request is recorded asks again, with another link', async () => {
  const memory = newRun();
  const urls: string[] = [];
  const definition = define(async ({ step }) => {
    await step.run('before', () => 1);
    return step.approve('manager', { request: ({ url }) => void urls.push(url) });
  });
  await drive({ run: memory, definition, mode: 'push', crashes: [9, 1] });
  expect(urls).toHaveLength(2);
  expect(urls[0]).not.toBe(urls[1]);
});

test('two of one name wait for decisions of their own, and a branch has its prefix', async () => {
  const memory = newRun();
  const definition = define(({ step }) =>
    Promise.all([
      step.approve('manager'),
      step.approve('manager'),
      step.parallel('both', { legal: (branch) => branch.approve('manager') }),
    ]),
  );
  await activate({ run: memory, definition });
  expect(memory.records.map((record) => ('awaited' in record ? record.awaited : undefined))).toEqual(
    ['manager', 'manager:1', 'both.legal.manager'].map((name) => ({
      kind: 'signal',
      signal: `ironflow.approval:${name}`,
    })),
  );
});

test.each([
  ['a name that is too long', 'x'.repeat(245), {}],
  ['a request that is no function', 'manager', { request: 'mail' }],
  ['a timeout that is none', 'manager', { timeout: 'soon' }],
])('%s is refused before anybody is asked', async (_what, name, options) => {
  const memory = newRun();
  const definition = define(({ step }) => step.approve(name, options as unknown as ApproveOptions));
  expect(await activate({ run: memory, definition })).toMatchObject({
    kind: 'threw',
    error: { name: 'ConfigurationError' },
  });
  expect([memory.records, memory.asked]).toEqual([[], []]);
});

test('a function cannot wait for a decision as for a signal of its own', async () => {
  const definition = define(({ step }) => step.waitForSignal('x', { signal: 'ironflow.approval:manager' }));
  expect(await activate({ run: newRun(), definition })).toMatchObject({
    kind: 'threw',
    error: { message: expect.stringContaining('must not begin with "ironflow."') },
  });
});

test('an approval has the id of its wait, whatever else has its name and whoever is asked first', async () => {
  const memory = newRun();
  let release = () => {};
  const slow = new Promise<void>((resolve) => (release = resolve));
  const definition = define(async ({ step }) => {
    await step.run('manager', () => 1);
    const first = step.approve('manager', { request: () => slow });
    const second = step.approve('manager', { request: () => release() });
    return Promise.all([first, second]);
  });
  expect(await activate({ run: memory, definition, mode: 'pull' })).toEqual({ kind: 'yielded' });
  const waiting = memory.records.filter(({ type }) => type === 'wait_for_signal');
  expect(memory.asked).toEqual(['manager:1', 'manager:2']);
  for (const { id, ...record } of waiting) {
    expect(record).toMatchObject({ awaited: { signal: `ironflow.approval:${id}` } });
  }
  expect(waiting.map(({ id }) => id).sort()).toEqual(['manager:1', 'manager:2']);
});

test('what sending a link throws is what is recorded, also when its fields are read-only', async () => {
  const memory = newRun();
  const request: ApproveOptions['request'] = ({ url, attempt }) => {
    const error = new TypeError(attempt === 1 ? 'The operation timed out' : `lost on ${url}`);
    Object.freeze(error);
    throw error;
  };
  await drive({ run: memory, definition: asking({ request }) });
  const errors = memory.records.flatMap((record) => ('error' in record ? [record.error] : []));
  expect(errors[0]).toMatchObject({ name: 'TypeError', message: 'The operation timed out' });
  expect(errors[1]).toMatchObject({
    name: 'TypeError',
    message: 'lost on https://ironflow.example/v1/approvals/ifa_…',
  });
});
