/** Every command against one platform, which is started once: starting it is most of what these tests cost. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Platform } from '@ironflow/platform';
import { createClient, createFunction, createWorker, serve } from '@ironflow/sdk';
import { sign } from '@ironflow/schema';
import { createLifecycle, createLogger } from '@ironflow/service';
import { createScratch, eventually, freePort, throwAwayPostgres } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { cli } from './testing/recorded-terminal.js';
import type { CliResult } from './testing/recorded-terminal.js';
import { cliVersion } from './version.js';

const logger = createLogger({ service: 'cli-test', level: 'silent' });
const lifecycle = createLifecycle({ logger });
const servers: Server[] = [];
let scratch: Scratch;
let platform: Platform;
let env: NodeJS.ProcessEnv;
let pushUrl: string;

const orders = createFunction(
  { id: 'orders', triggers: [{ event: 'order.*' }], retries: { attempts: 2, initialDelayMs: 10 } },
  async ({ event, step }) => {
    await step.sleep('nap', '20ms');
    return step.run('charge', ({ attempt }) => {
      if (attempt === 1) throw new Error('card\u001b[31m declined\nfor now');
      return event.data;
    });
  },
);
const broken = createFunction({ id: 'broken', triggers: [], retries: { attempts: 1 } }, async () => {
  throw new Error('cannot');
});

const asking = createFunction({ id: 'asking', triggers: [{ event: 'ask.it' }] }, ({ step }) =>
  step.waitForSignal('answer'),
);
const spending = createFunction({ id: 'spending', triggers: [{ event: 'spend.it' }] }, ({ step }) =>
  step.approve('manager'),
);
const limited = createFunction(
  {
    id: 'limited',
    triggers: [{ event: 'limit.it' }],
    concurrency: { limit: 2, key: 'event.data.n' },
  },
  () => 1,
);
const charging = createFunction(
  { id: 'charging', triggers: [{ event: 'charge.it' }], retries: { attempts: 1 } },
  ({ step, secrets }) =>
    step.run('charge', async () => {
      throw new Error(`the bank refuses ${await secrets.get('BANK_KEY')}`);
    }),
);
const talking = createFunction({ id: 'talking', triggers: [] }, async ({ step, logger }) => {
  logger.info('begins', { card: 'red\u001b[31m' });
  await step.run('charge', () => logger.warn('slow\nbank'));
  logger.debug('ends');
});
const napping = createFunction({ id: 'napping', triggers: [{ event: 'nap.long' }] }, ({ step }) =>
  step.sleep('nap', '1h'),
);

beforeAll(async () => {
  // Loaded late, as the CLI does.
  const { startPlatform } = await import('@ironflow/platform');
  scratch = await createScratch('cli');
  const made = await cli(['nats', 'init', '--out', scratch.file('nats'), '--json']);
  expect(made).toMatchObject({ exitCode: 0, err: '' });
  platform = await startPlatform({
    dataFolder: scratch.file('data'),
    env: { IRONFLOW_NATS_OPERATOR: (JSON.parse(made.out) as { path: string }).path },
    lifecycle,
    loggerFor: () => logger,
    say: () => undefined,
    port: 0,
    postgres: throwAwayPostgres(),
  });
  env = { IRONFLOW_URL: platform.url, IRONFLOW_API_KEY: platform.apiKey };
  const connection = { ironflowUrl: platform.url, apiKey: platform.apiKey };
  const worker = createWorker({
    app: 'shop',
    functions: [orders, broken, napping, asking, spending, limited, charging, talking],
    handleSignals: false,
    ...connection,
  });
  lifecycle.onStop('worker', () => worker.stop({ timeoutMs: 1_000 }));
  await worker.start();
  const mail = createFunction(
    { id: 'mail', triggers: [{ event: 'mail.sent', if: 'event.data.n > 1' }] },
    async () => 1,
  );
  const { signingKey } = platform;
  const handler = serve({ app: 'mailer', functions: [mail], dev: true, signingKey, ...connection });
  pushUrl = await listen((request, response) => handler.node(request, response));
}, 60_000);

afterAll(async () => {
  for (const server of servers) server.close();
  await lifecycle.stop();
  await scratch.remove();
});

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const run = (...args: string[]): Promise<CliResult> => cli(args, { env });

async function json<T>(...args: string[]): Promise<T> {
  const { exitCode, out, err } = await run(...args, '--json');
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' });
  return JSON.parse(out) as T;
}

interface Emitted {
  ids: string[];
  runs: { id: string; functionId: string; status: string; output?: unknown }[];
}

describe('what works', () => {
  test('an event is emitted, waited for, and its run shown with a line for each attempt', async () => {
    const { runs } = await json<Emitted>('emit', 'order.placed', '{"n":7}', '--wait', '20s');
    expect(runs).toEqual([
      expect.objectContaining({ functionId: 'orders', status: 'completed', output: { n: 7 } }),
    ]);
    const shown = await run('runs', 'show', runs[0]!.id);
    expect(shown.exitCode).toBe(0);
    const lines = shown.out.split('\n');
    expect(lines).toContain('status    completed');
    expect(lines).toContain('output    {"n":7}');
    expect(lines.filter((line) => line.includes('|')).map((line) => line.split('|')[0]!.trim())).toEqual([
      'nap',
      'charge',
      'charge (attempt 2)',
    ]);
    // What tenants write cannot command the terminal, nor break the table.
    expect(shown.out).toContain('Error: card [31m declined for now');
    const detail = await json<{ steps: unknown[] }>('runs', 'show', runs[0]!.id);
    expect(detail.steps).toHaveLength(3);
  });

  test('for people, emit and invoke print a table of the runs', async () => {
    const emitted = await run('emit', 'order.placed', '--wait', '20s');
    expect(emitted.out).toMatch(
      /^event [0-9a-f-]{36}\nRUN +FUNCTION +STATUS +RESULT\n[0-9a-f-]{36}  orders +completed +{}$/,
    );
    const failed = await run('invoke', 'broken', '--wait', '20s');
    expect(failed.out).toMatch(/broken +failed +Error: cannot$/);
    expect(failed).toMatchObject({ exitCode: 1, err: expect.stringMatching(/^ironflow: run \S+ failed$/) });
    expect((await run('emit', 'nobody.listens', '--wait', '5s')).out).toContain('no function matched');
  });

  test('data comes from standard input too, and a repeated key stores nothing new', async () => {
    const args = ['emit', 'order.placed', '-', '--idempotency-key', 'once', '--json'];
    const [first, second] = [
      await cli(args, { env, input: '{"n":1}' }),
      await cli(args, { env, input: '{"n":2}' }),
    ];
    expect(first.exitCode).toBe(0);
    expect(second.out).toBe(first.out);
  });

  test('a run is watched to its end', async () => {
    const { runs } = JSON.parse(
      (await run('invoke', 'orders', '{"n":1}', '--wait', '500ms', '--json')).out,
    ) as Emitted;
    const watched = await run('runs', 'watch', runs[0]!.id);
    expect(watched.exitCode).toBe(0);
    expect(watched.out.split('\n').at(-1)).toMatch(/^completed: nap completed.*charge completed/);
    const lines = (await run('runs', 'watch', runs[0]!.id, '--json')).out.split('\n');
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ status: 'completed' });
  });

  test('what a run’s logger wrote is shown, filtered, and followed to its end', async () => {
    const { runs } = JSON.parse((await run('invoke', 'talking', '--wait', '100ms', '--json')).out) as Emitted;
    const id = runs[0]!.id;
    const followed = await run('runs', 'logs', id, '--follow');
    const time = String.raw`\d{4}-\d\d-\d\dT\S+Z`;
    expect(followed).toMatchObject({ exitCode: 0, err: '' });
    expect(followed.out).toMatch(
      new RegExp(
        `^${time} info  begins {"card":"red\\\\u001b\\[31m"}\n${time} warn  \\[charge\\] slow bank\n${time} debug ends$`,
      ),
    );
    expect((await run('runs', 'logs', id)).out).toBe(followed.out);
    const lines = (await run('runs', 'logs', id, '--level', 'warn', '--step', 'charge', '--json')).out;
    expect(JSON.parse(lines)).toMatchObject({ message: 'slow\nbank', step: { id: 'charge', attempt: 1 } });
    expect((await run('runs', 'logs', id, '--level', 'error')).out).toBe('no lines');
    expect((await run('runs', 'logs', id, '--level', 'loud')).exitCode).toBe(1);
    expect((await run('runs', 'show', id)).out).toMatch(/^log {7}3 lines$/m);
  });

  test('a run is cancelled, and says so', async () => {
    const { runs } = JSON.parse((await run('invoke', 'napping', '--wait', '100ms', '--json')).out) as Emitted;
    const { id } = runs[0]!;
    expect((await run('runs', 'cancel', id)).out).toBe('asked to stop');
    const watched = await run('runs', 'watch', id);
    expect(watched.out.split('\n').at(-1)).toMatch(/^cancelled/);
    expect(watched.exitCode).toBe(1);
    expect((await run('runs', 'cancel', id)).out).toBe('cancelled');
  });

  test('runs are cancelled by a filter, after they were counted', async () => {
    for (let n = 0; n < 2; n += 1) await run('invoke', 'napping', '--wait', '100ms');
    const all = ['runs', 'cancel-all', '--function', 'napping'];
    expect((await run(...all, '--dry-run')).out).toBe('2 runs would be asked to stop');
    expect(await json(...all)).toEqual({ count: 2 });
    expect((await run(...all)).out).toBe('0 runs are asked to stop');
    expect((await run('runs', 'cancel-all')).err).toContain('must have at least one of status');
  });

  test('a run is sent the signal that it waits for', async () => {
    const { runs } = JSON.parse((await run('invoke', 'asking', '--wait', '100ms', '--json')).out) as Emitted;
    const { id } = runs[0]!;
    expect((await run('runs', 'signal', id, 'answer', '{"n":2}')).out).toBe('sent');
    const watched = await run('runs', 'watch', id, '--json');
    expect(JSON.parse(watched.out.split('\n').at(-1)!)).toMatchObject({ output: { n: 2 } });
    const late = await run('runs', 'signal', id, 'answer', '--json');
    expect(late.exitCode).toBe(1);
    expect(JSON.parse(late.err)).toMatchObject({ error: { code: 'run_ended' } });
  });

  test('what a run asks for is shown, and decided once', async () => {
    const { runs } = JSON.parse(
      (await run('invoke', 'spending', '--wait', '100ms', '--json')).out,
    ) as Emitted;
    const { id } = runs[0]!;
    await eventually(async () =>
      expect((await run('runs', 'show', id)).out).toMatch(/^approval {2}manager: to be decided until \S+Z$/m),
    );
    expect((await run('runs', 'approve', id, 'director')).err).toContain('has not asked for an approval');
    expect((await run('runs', 'reject', id, 'manager', '--comment', 'too dear')).out).toBe('rejected');
    const watched = await run('runs', 'watch', id, '--json');
    expect(JSON.parse(watched.out.split('\n').at(-1)!)).toMatchObject({
      output: { approved: false, comment: 'too dear' },
    });
    expect((await run('runs', 'approve', id, 'manager')).exitCode).toBe(1);
  });

  test('a run that has ended is repeated, with other data or from a step, and shows whose repetition it is', async () => {
    const first = JSON.parse(
      (await run('emit', 'order.paid', '{"n":1}', '--wait', '20s', '--json')).out,
    ) as Emitted;
    const { id } = first.runs[0]!;
    const { out } = await run('runs', 'rerun', id, '--data', '{"n":2}', '--from-step', 'charge');
    const [, again] = /^event \S+\nrun   (\S+)$/.exec(out)!;
    await eventually(() => json('runs', 'show', again!));
    expect((await run('runs', 'watch', again!)).exitCode).toBe(0);
    expect(await json('runs', 'show', again!)).toMatchObject({ output: { n: 2 }, rerunOf: id });
    expect((await run('runs', 'show', again!)).out).toContain(`\nrerun of  ${id}\n`);
    const keyed = ['runs', 'rerun', id, '--idempotency-key', 'again'];
    expect(await json(...keyed)).toEqual(await json(...keyed));
    expect((await run('runs', 'rerun', id, '--from-step', 'x')).err).toMatch(
      /^ironflow: fromStep: .*no step/,
    );
  });

  test('runs that a filter finds are counted and repeated, and stored events given to a function', async () => {
    await run('invoke', 'broken', '--wait', '20s');
    const { runs } = await json<{ runs: unknown[] }>(
      'runs',
      'list',
      '--function',
      'broken',
      '--status',
      'failed',
    );
    const filter = ['--status', 'failed', '--function', 'broken'];
    const all = ['runs', 'rerun-all', ...filter, '--to', '2090-01-01'];
    expect((await run(...all, '--dry-run')).out).toBe(`${runs.length} runs would be repeated`);
    expect((await run(...all)).out).toBe(`${runs.length} runs are repeated`);
    await eventually(async () => {
      const after = await json<{ runs: unknown[] }>('runs', 'list', ...filter);
      expect(after.runs).toHaveLength(2 * runs.length);
    });
    const events = ['functions', 'replay', 'orders', '--event', 'never.sent'];
    expect((await run(...events, '--dry-run')).out).toBe('0 events would be replayed');
    expect(await json(...events)).toEqual({ count: 0, skipped: 0 });
    expect((await run('functions', 'replay', 'nobody', '--event', 'a')).err).toMatch(/no active function/);
  });

  test('a run that failed leaves a letter, which is listed, shown, replayed and discarded', async () => {
    const failed = await run('invoke', 'broken', '--wait', '20s', '--json');
    const { id } = (JSON.parse(failed.out) as Emitted).runs[0]!;
    type Letters = {
      deadLetters: { id: string; runId: string; functionId: string; replayedAt?: string }[];
    };
    const { deadLetters } = await json<Letters>('dlq', 'list', '--reason', 'run_failed');
    const until = ['--to', new Date().toISOString()];
    const letter = deadLetters.find(({ runId }) => runId === id)!;
    expect((await run('dlq', 'list')).out).toMatch(
      new RegExp(`^LETTER +REASON +OF +OCCURRED +REPLAYED\\n(.*\\n)*${letter.id}  run_failed +broken `),
    );
    const shown = await run('dlq', 'show', letter.id);
    expect(shown.out).toMatch(/^letter .*\nreason {4}run_failed: .*\nrun .*\nfunction {2}broken\n/);
    expect(shown.out).toContain('\nerror     Error: cannot');
    const { out } = await run('dlq', 'replay', letter.id);
    expect(out).toMatch(/^replayed \S+\nrun {6}\S+$/);
    expect((await run('dlq', 'replay', letter.id)).out).toBe(out);
    expect(await json('dlq', 'replay', letter.id)).toMatchObject({ runId: out.split(' ').at(-1) });
    const all = ['dlq', 'replay-all', '--reason', 'run_failed', '--function', 'broken'];
    const left = deadLetters.filter((one) => one.functionId === 'broken' && one.replayedAt === undefined);
    expect((await run(...all, ...until, '--dry-run')).out).toBe(
      `${left.length - 1} letters would be replayed`,
    );
    expect((await run(...all, ...until)).out).toBe(`${left.length - 1} letters are replayed`);
    expect(await json(...all, ...until)).toEqual({ count: 0, skipped: 0 });
    expect((await run('dlq', 'discard', letter.id)).out).toBe('discarded');
    expect((await run('dlq', 'discard', letter.id)).err).toMatch(/no dead letter of that id/);
    expect((await run('dlq', 'list', '--to', '2020-01-01')).out).toBe('no dead letters');
  });

  test('a run that failed, or that the wait did not see end, is printed and is exit code 1', async () => {
    const failed = await run('invoke', 'broken', '--wait', '20s', '--json');
    const { id } = (JSON.parse(failed.out) as Emitted).runs[0]!;
    expect(failed.exitCode).toBe(1);
    expect(JSON.parse(failed.err)).toEqual({ error: { code: 'failed', message: `run ${id} failed` } });
    const watched = await run('runs', 'watch', id);
    expect(watched).toMatchObject({
      exitCode: 1,
      out: expect.stringMatching(/failed/),
      err: `ironflow: run ${id} failed`,
    });
    // Nobody looks at what nobody waited for.
    expect((await run('invoke', 'broken')).exitCode).toBe(0);
    const cut = await run('emit', 'nap.long', '--wait', '200ms');
    expect(cut.exitCode).toBe(1);
    expect(cut.err).toMatch(/^ironflow: (run \S+ has not ended: it is \w+|the wait ran out)/);
    expect((await run('emit', '--help')).out).toMatch(/exit\s+code\s+1/);
  });

  test('a breaker is forced open, which its runs say, and is reset', async () => {
    expect((await run('breakers', 'show', 'asking')).out).toContain('state     closed');
    const opened = await run('breakers', 'open', 'asking');
    expect(opened).toMatchObject({ exitCode: 0, err: '' });
    expect(opened.out).toContain('state     forced open until it is reset');
    const list = await run('breakers', 'list', '--state', 'open');
    expect(list.out).toMatch(/asking +forced open until it is reset .*worker$/m);
    const { ids } = await json<Emitted>('emit', 'ask.it');
    const { runs } = await eventually(
      async () => {
        const page = await json<{ runs: { id: string; waitingFor?: object }[] }>(
          'runs',
          'list',
          '--event',
          ids[0]!,
        );
        expect(page.runs[0]?.waitingFor).toBeDefined();
        return page;
      },
      { timeoutMs: 15_000 },
    );
    const shown = await run('runs', 'show', runs[0]!.id);
    expect(shown.out).toMatch(/^waits for +circuit_open until 20/m);
    expect(shown.out).toMatch(/^\(circuit_open\) +\|.*until 20/m);
    await run('runs', 'cancel', runs[0]!.id);
    const timed = await json<{ forced: { until: string } }>('breakers', 'open', 'asking', '--for', '10m');
    expect(Date.parse(timed.forced.until)).toBeGreaterThan(Date.now() + 500_000);
    expect(await json('breakers', 'reset', 'asking')).toMatchObject({ state: 'closed' });
    expect((await run('breakers', 'list', '--state', 'open')).out).toBe('no breakers: none is open');
    expect((await run('breakers', 'open', 'asking', '--for', 'long')).exitCode).toBe(1);
  });

  test('the table of an outbox is printed', async () => {
    expect((await run('outbox', 'sql')).out).toContain('create table if not exists ironflow_outbox (');
    expect((await json<{ sql: string }>('outbox', 'sql', '--table', 'shop.outbox')).sql).toContain(
      'on shop.outbox (position)',
    );
    expect((await run('outbox', 'sql', '--table', 'a b')).err).toContain('table: must be a name');
  });

  test('runs are filtered and paged', async () => {
    const { ids } = await json<Emitted>('emit', 'order.placed', '--wait', '20s');
    await json<Emitted>('emit', 'order.placed', '--wait', '20s');
    interface Page {
      runs: { id: string; eventId: string; functionId: string }[];
      nextCursor?: string;
    }
    const ofEvent = await json<Page>('runs', 'list', '--event', ids[0]!);
    expect(ofEvent.runs.map(({ eventId }) => eventId)).toEqual(ids);
    const first = await json<Page>('runs', 'list', '--function', 'orders', '--limit', '1');
    const second = await json<Page>(
      'runs',
      'list',
      '--function',
      'orders',
      '--limit',
      '1',
      '--cursor',
      first.nextCursor!,
    );
    expect(second.runs).toHaveLength(1);
    expect(second.runs[0]!.id).not.toBe(first.runs[0]!.id);
    expect((await json<Page>('runs', 'list', '--to', '2020-01-01')).runs).toEqual([]);
    const table = await run('runs', 'list', '--status', 'completed', '--limit', '1');
    expect(table.out).toMatch(
      /^RUN +FUNCTION +STATUS +EVENT +CREATED +TOOK +BUILD\n.* ms\n\nmore: --cursor \S+$/,
    );
    expect((await run('runs', 'list', '--status', 'skipped')).out).toBe('no runs');
  });

  test('a push app registers when it is asked, and functions are listed with their triggers', async () => {
    expect((await run('apps', 'sync', pushUrl)).out).toBe('app         mailer\nregistered  mail');
    expect(await json('apps', 'sync', pushUrl)).toMatchObject({ appId: 'mailer', unchanged: ['mail'] });
    const { out } = await run('functions', 'list');
    expect(out).toMatch(/^mail +mailer +push +active +mail.sent if event.data.n > 1$/m);
    expect(out).toMatch(/^orders +shop +pull +active +order.\*$/m);
    const { functions } = await json<{ functions: { id: string }[] }>('functions', 'list');
    expect(functions.map(({ id }) => id)).toEqual(expect.arrayContaining(['broken', 'mail', 'orders']));
  });

  test('a function and the environment are paused and go on, and the queues say so', async () => {
    const since = /paused since \d{4}-\S+Z$/;
    expect((await run('functions', 'pause', 'limited')).out).toMatch(since);
    const shown = (await run('functions', 'show', 'limited')).out.split('\n');
    expect(shown).toEqual(
      expect.arrayContaining([
        'app       shop, pull',
        expect.stringMatching(/^status {4}active, paused since /),
        'trigger   limit.it',
        'limit     concurrency 2 by event.data.n',
      ]),
    );
    expect((await run('queues')).out).toMatch(/^FUNCTION .*\nlimited +none +\d{4}-\S+Z$/);
    expect((await run('queues', 'limited')).out).toMatch(/^paused since \S+\nwaiting: none$/);
    expect((await run('functions', 'resume', 'limited')).out).toBe('active');
    expect((await run('queues')).out).toBe('nothing waits');
    expect((await run('queues', 'nobody')).err).toMatch(/no function/);
    expect((await run('environment', 'pause')).out).toMatch(since);
    expect((await run('queues')).out).toMatch(/^the environment is paused since \S+\nnothing waits$/);
    expect(await json('environment', 'resume')).not.toHaveProperty('pausedAt');
    expect((await run('environment', 'show')).out).toMatch(/: not paused$/);
  });

  test('secrets are set from standard input and files, read by functions, and shown nowhere', async () => {
    const value = 'bk_very-secret-7';
    const given = (input: string, ...args: string[]) => cli(['secrets', ...args], { env, input });
    expect(await given(`${value}\n`, 'set', 'BANK_KEY')).toEqual({
      ...{ exitCode: 0, out: 'BANK_KEY version 1', err: '' },
    });
    const file = scratch.file('.env');
    writeFileSync(file, `# of the shop\nBANK_KEY="${value}"\nSHOP_PIN='12 34'\n`);
    expect((await run('secrets', 'import', '--from-file', file)).out).toBe(
      'BANK_KEY version 2\nSHOP_PIN version 1',
    );
    // It fails: exit code 1.
    const { runs } = JSON.parse((await run('emit', 'charge.it', '--wait', '20s', '--json')).out) as Emitted;
    const failed = await run('runs', 'show', runs[0]!.id, '--json');
    expect(failed.out).toContain('the bank refuses [secret]');
    expect(failed.out).not.toContain(value);
    expect((await run('secrets', 'list')).out).toMatch(/\nBANK_KEY +2 +\d{4}-/);
    expect((await run('secrets', 'show', 'BANK_KEY')).out.split('\n')).toHaveLength(3);
    expect((await run('secrets', 'rotate-data-key')).out).toMatch(/^data key 2: \d+ values/);
    expect((await run('secrets', 'delete', 'SHOP_PIN')).out).toBe('deleted');
    const odd = await given('x', 'set', 'lower-case-value');
    expect(odd).toMatchObject({
      exitCode: 1,
      err: expect.stringMatching(/^ironflow: the name of a secret must be/),
    });
    expect(odd.err).not.toContain('lower-case-value');
    expect(await given('\n', 'set', 'EMPTY')).toMatchObject({ exitCode: 1 });
    const extra = await given('', 'set', 'BANK_KEY', 'a-value-as-an-argument');
    expect(extra.exitCode).not.toBe(0);
    expect(extra.err).not.toContain('a-value-as-an-argument');
  });

  test('config documents are set, compared, watched and deleted', async () => {
    const file = scratch.file('prices.json');
    writeFileSync(file, '{"eur":7}');
    expect((await run('config', 'set', 'prices', '--from-file', file)).out).toBe('prices revision 1');
    expect((await run('config', 'set', 'prices', '{"eur":8}', '--revision', '1')).out).toBe(
      'prices revision 2',
    );
    const late = await run('config', 'set', 'prices', '{"eur":9}', '--revision', '1');
    expect(late).toMatchObject({ exitCode: 1, err: expect.stringContaining('at revision 2') });
    expect(JSON.parse((await run('config', 'get', 'prices')).out)).toEqual({ eur: 8 });
    expect(await json('config', 'get', 'prices')).toMatchObject({ revision: 2, data: { eur: 8 } });
    expect((await run('config', 'list')).out).toMatch(/\nprices +2 +\d{4}-/);
    expect((await run('config', 'set', 'prices', 'no json')).err).toMatch(/data is not JSON/);
    expect((await run('config', 'delete', 'prices')).out).toBe('deleted');
    expect((await run('config', 'get', 'prices')).err).toMatch(/no config document/);
  });

  test('a bucket is made, its keys are set, compared, listed and deleted', async () => {
    expect((await run('kv', 'create', 'carts', '--ttl', '1h', '--history', '3')).out).toMatch(
      /\ncarts +3600s +3 +67108864$/,
    );
    expect((await run('kv', 'put', 'carts', 'user.7', '{"items":1}', '--revision', '0')).out).toBe(
      'revision 1',
    );
    expect((await run('kv', 'put', 'carts', 'user.7', '2', '--revision', '0')).exitCode).toBe(1);
    expect(JSON.parse((await run('kv', 'get', 'carts', 'user.7')).out)).toEqual({ items: 1 });
    expect((await run('kv', 'keys', 'carts', 'user.*')).out).toBe('user.7');
    expect((await run('kv', 'delete', 'carts', 'user.7')).out).toBe('deleted');
    expect((await run('kv', 'history', 'carts', 'user.7')).out).toBe(
      '1 user.7 {"items":1}\n2 user.7 deleted',
    );
    expect((await run('kv', 'get', 'carts', 'user.7')).err).toMatch(/no such key/);
    expect((await run('kv', 'buckets')).out).toMatch(/\ncarts /);
    expect((await run('kv', 'delete-bucket', 'carts')).out).toBe('deleted');
    expect((await run('kv', 'describe', 'carts')).err).toMatch(/no bucket/);
  });

  test('a webhook is set up, and what is sent to it starts runs and is listed', async () => {
    const created = await run('webhooks', 'create', 'shop', '--provider', 'standard-webhooks');
    expect(created.exitCode).toBe(0);
    const [, url] = /^url +(\S+)$/m.exec(created.out)!;
    const [, secret] = /^secret +(\S+) +\(not shown again\)$/m.exec(created.out)!;
    expect(url).toContain(`${platform.url}/v1/hooks/ifw_`);
    const body = JSON.stringify({ type: 'order.paid', n: 7 });
    const deliver = (key: string): Promise<Response> => {
      const message = { id: 'msg_1', timestamp: String(Math.floor(Date.now() / 1_000)), body };
      const headers = {
        'webhook-id': message.id,
        'webhook-timestamp': message.timestamp,
        'webhook-signature': sign(message, [key]),
      };
      return fetch(url!, { method: 'POST', headers, body });
    };
    const taken = await deliver(secret!);
    expect(taken.status).toBe(202);
    const { id } = (await taken.json()) as { id: string };
    expect((await deliver(`whsec_${Buffer.alloc(32).toString('base64')}`)).status).toBe(401);
    const event = await createClient({ ironflowUrl: platform.url, apiKey: platform.apiKey }).events.get(id);
    expect(event).toMatchObject({ name: 'shop.order.paid', source: 'webhook', data: { n: 7 } });

    const all = (await run('webhooks', 'deliveries', 'shop')).out.split('\n');
    expect(all[0]).toMatch(/^RECEIVED +STATUS +DELIVERY +EVENT +NAME OR REASON$/);
    expect(all[1]).toMatch(/refused +msg_1 +signature_invalid$/);
    expect(all[2]).toMatch(new RegExp(`accepted +msg_1 +${id} +shop.order.paid$`));
    const refused = await json<{ deliveries: unknown[] }>('webhooks', 'deliveries', 'shop', '--refused');
    expect(refused.deliveries).toHaveLength(1);

    const rotated = await run('webhooks', 'rotate', 'shop', '--grace', '1h');
    expect(rotated.out).toMatch(/^secrets +of \S+; of \S+, until \S+$/m);
    expect((await run('webhooks', 'pause', 'shop')).out).toBe('paused');
    expect((await deliver(secret!)).status).toBe(503);
    expect((await run('webhooks', 'resume', 'shop')).out).toBe('active');
    expect((await deliver(secret!)).status).toBe(200);
    expect((await run('webhooks', 'list')).out).toMatch(
      /\nshop +standard-webhooks +active +shop\.> +2 +http/,
    );
    expect((await run('webhooks', 'show', 'shop')).out).not.toContain(secret);
    expect((await run('webhooks', 'delete', 'shop')).out).toBe('deleted');
    expect((await deliver(secret!)).status).toBe(404);
  });

  test('a provider that makes its secret gets the URL first; a custom one is described in JSON', async () => {
    const created = await run('webhooks', 'create', 'pay', '--provider', 'stripe');
    expect(created.out).toMatch(/webhooks rotate pay --secret -$/);
    const rotated = await cli(['webhooks', 'rotate', 'pay', '--secret', '-'], {
      env,
      input: 'whsec_of_stripe\n',
    });
    expect(rotated).toMatchObject({ exitCode: 0, err: '' });
    expect(rotated.out).not.toContain('whsec_of_stripe');
    expect(rotated.out).toMatch(/^secrets +of \S+$/m);
    const scheme = '{"signature": {"header": "X-Signature", "encoding": "base64"}}';
    const flags = [
      '--provider',
      'custom',
      '--event-prefix',
      'crm',
      '--keep-header',
      'X-A',
      '--keep-header',
      'X-B',
    ];
    const custom = await json<object>('webhooks', 'create', 'crm-1', ...flags, '--scheme', scheme);
    expect(custom).toMatchObject({ eventPrefix: 'crm', headers: ['x-a', 'x-b'], secret: expect.any(String) });
    for (const id of ['pay', 'crm-1']) await run('webhooks', 'delete', id);
  });

  test('credentials for NATS are written for their owner alone, listed, and revoked', async () => {
    const out = scratch.file('warehouse.creds');
    const { out: said } = await run('credentials', 'create', 'warehouse', '--out', out, '--expires-in', '1h');
    expect(said).toContain('ironflow.local.dev.ingest.>');
    expect(readFileSync(out, 'utf8')).toContain('BEGIN USER NKEY SEED');
    expect(statSync(out).mode & 0o777).toBe(0o600);
    expect(said).not.toMatch(/SU[A-Z2-7]{56}/);
    const { credentials } = await json<{ credentials: { id: string; name: string }[] }>(
      'credentials',
      'list',
    );
    expect(credentials).toMatchObject([{ name: 'warehouse', status: 'active' }]);
    expect((await run('credentials', 'revoke', credentials[0]!.id)).out).toBe('revoked');
    expect((await run('credentials', 'list')).out).toMatch(/warehouse\s+revoked/);
    const again = await run('credentials', 'create', 'warehouse', '--out', out);
    expect(again).toMatchObject({ exitCode: 1, err: expect.stringMatching(/exist/i) });
    expect(readFileSync(out, 'utf8')).not.toBe('');
    const nameless = await run('credentials', 'create', 'a\nb');
    expect(nameless.err).toMatch(/printable ASCII/);
    const known = await cli(['nats', 'init', '--out', scratch.file('nats')]);
    expect(known).toMatchObject({ exitCode: 1, err: expect.stringMatching(/not empty/) });
  });

  test('the local platform is found by its folder, and its key is given to nobody else', async () => {
    const local = { env: { IRONFLOW_DATA: platform.dataFolder } };
    expect((await cli(['functions', 'list'], local)).exitCode).toBe(0);
    const byName = platform.url.replace('127.0.0.1', 'localhost');
    expect((await cli(['doctor', '--url', byName], local)).out).not.toContain('there is none');
    let authorization: string | undefined;
    const stranger = await listen((request, response) => {
      authorization = request.headers.authorization;
      response.end('{}');
    });
    const refused = await cli(['functions', 'list', '--url', stranger], local);
    expect(refused.err).toMatch(/^ironflow: no API key: /);
    expect(authorization).toBeUndefined();
  });

  test('every command explains itself', async () => {
    const commands = [
      '',
      'dev',
      'up',
      'migrate',
      'apps',
      'apps sync',
      'emit',
      'invoke',
      'runs',
      'runs list',
      'runs show',
    ];
    const deadLetters = ['dlq', 'dlq list', 'dlq show', 'dlq replay', 'dlq replay-all', 'dlq discard'];
    commands.push(
      'runs logs',
      'runs watch',
      'runs rerun',
      'runs rerun-all',
      'functions',
      'functions list',
      'doctor',
      ...deadLetters,
    );
    commands.push('functions replay', 'functions show', 'functions pause', 'functions resume', 'queues');
    commands.push('environment', 'environment show', 'environment pause', 'environment resume');
    commands.push('webhooks');
    for (const name of ['create', 'list', 'show', 'rotate', 'pause', 'resume', 'delete', 'deliveries']) {
      commands.push(`webhooks ${name}`);
    }
    for (const command of commands) {
      const { exitCode, out, err } = await run(...command.split(' ').filter((word) => word !== ''), '--help');
      expect({ command, exitCode, err }).toEqual({ command, exitCode: 0, err: '' });
      expect(out).toContain(`Usage: ironflow ${command}`.trim());
      expect(out).toContain('--json');
    }
    const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as object;
    expect(manifest).toMatchObject({ version: cliVersion });
    expect((await run('--version')).out).toBe(cliVersion);
  });
});

describe('the audit log and quotas', () => {
  /** The platform as somebody between it and the terminal shows it. */
  const seenThrough = (change: (text: string) => string): Promise<string> =>
    listen((request, response) => {
      const headers = { authorization: String(request.headers.authorization) };
      void fetch(platform.url + String(request.url), { headers }).then(async (answer) => {
        response
          .writeHead(answer.status, { 'content-type': 'application/json' })
          .end(change(await answer.text()));
      });
    });

  test('what was changed is listed and verified; a head that was kept is found again, and another is not', async () => {
    const other = await platform.createEnvironment('cli', 'audited');
    const as = (...args: string[]) => cli([...args, '--key', other.apiKey], { env });
    expect((await as('audit', 'list')).out).toBe('no entries');
    await as('environment', 'pause');
    const { out } = await as('audit', 'verify');
    const head = /^ok: 1 entries\nhead ([0-9a-f]{64})$/.exec(out)?.[1];
    await as('environment', 'resume');
    expect((await as('audit', 'list', '--action', 'environment.pause')).out).toMatch(
      /^NUMBER .*\n1 +\d{4}\S+ +key \S+ +environment\.pause +environment +127\.0\.0\.1 +done$/,
    );
    expect(await as('audit', 'verify', '--head', head!)).toMatchObject({ exitCode: 0, err: '' });
    const cut = await as('audit', 'verify', '--head', 'f'.repeat(64));
    expect([cut.exitCode, cut.out]).toEqual([1, expect.stringMatching(/^cut short or written anew/)]);

    const liar = await seenThrough((text) => text.replace('environment.resume', 'environment.pause'));
    const altered = await as('audit', 'verify', '--url', liar);
    expect(altered.exitCode).toBe(1);
    expect(altered.out).toMatch(/^broken: entry 2 was altered/);
    const hiding = await seenThrough((text) => {
      const page = JSON.parse(text) as { entries: unknown[] };
      return JSON.stringify({ ...page, entries: page.entries.slice(1) });
    });
    expect((await as('audit', 'verify', '--url', hiding)).out).toMatch(/^broken: entry 1 is missing/);
  });

  test('quotas are shown, and set by operators, those that are given', async () => {
    const place = 'local/dev';
    expect((await run('quotas', 'show')).out).toMatch(/\neventsPerSecond +20000 +[\d.]+ +default\n/);
    const asOperator = { env: { ...env, IRONFLOW_OPERATOR_KEY: platform.operatorKey } };
    const given = ['--queued-runs', '123456', '--payload-bytes', '5000'];
    const set = await cli(['quotas', 'set', place, ...given], asOperator);
    expect(set.out).toMatch(/\nqueuedRuns +123456 +\d+(\n|$)/);
    const defaults = ['--queued-runs', 'default', '--payload-bytes', 'default', '--json'];
    const shown = JSON.parse((await cli(['quotas', 'set', place, ...defaults], asOperator)).out) as object;
    expect(shown).toMatchObject({ queuedRuns: { isDefault: true }, payloadBytes: { isDefault: true } });
  });
});

test('for how long things are kept is shown and set', async () => {
  expect((await run('retention', 'show')).out).toBe('as the installation does');
  expect((await run('retention', 'set', '90')).out).toBe('90 days');
  expect(await json('retention', 'show')).toEqual({ days: 90 });
  expect((await run('retention', 'set', 'default')).out).toBe('as the installation does');
});

describe('schedules and events that come later', () => {
  test('are listed, shown, paused, resumed, triggered and backfilled', async () => {
    const client = createClient({ ironflowUrl: platform.url, apiKey: platform.apiKey });
    const trigger = { cron: '0 3 29 2 *', id: 'leap', jitter: '5m', overlap: 'skip' } as const;
    const report = createFunction({ id: 'report', triggers: [trigger] }, () => 'done');
    await client.apps.register({ id: 'timed', mode: 'pull', functions: [report.config] });
    expect((await run('cron', 'list')).out).toMatch(/^report\.leap +0 3 29 2 \* +UTC +active +20/m);
    const shown = await run('cron', 'show', 'report.leap');
    expect(shown.out).toMatch(/^jitter +less than 5\.0 min$/m);
    expect(shown.out).toMatch(/^overlap +skip$/m);
    expect(shown.out.match(/-02-29T03:00:00\.000Z/g)).toHaveLength(5);
    expect((await run('cron', 'pause', 'report.leap')).out).toMatch(/^status +paused since /m);
    expect((await run('cron', 'resume', 'report.leap')).out).toMatch(/^status +active$/m);
    expect((await run('cron', 'trigger', 'report.leap')).out).toMatch(/^event [0-9a-f-]{36}$/m);
    const range = ['--from', '2016-01-01T00:00:00Z', '--to', '2025-01-01T00:00:00Z'];
    expect((await run('cron', 'backfill', 'report.leap', ...range, '--dry-run')).out).toMatch(
      /^3 times would be fired$/m,
    );
    expect((await run('cron', 'backfill', 'report.leap', ...range)).out).toMatch(/^3 times are fired$/m);
    expect((await run('cron', 'backfill', 'report.leap', ...range)).out).toMatch(
      /^0 times are fired\n3 had been fired before$/m,
    );
    expect(await run('cron', 'show', 'report.none')).toMatchObject({ exitCode: 1 });
  });

  test('are listed and cancelled', async () => {
    const at = new Date(Date.now() + 86_400_000).toISOString();
    const emitted = await run('emit', 'much.later', '{}', '--at', at);
    const id = /event ([0-9a-f-]{36})/.exec(emitted.out)![1]!;
    expect((await run('scheduled', 'list')).out).toContain(`${id}  much.later  ${at}`);
    expect((await run('scheduled', 'cancel', id)).out.trim()).toBe('cancelled');
    expect((await run('scheduled', 'list')).out.trim()).toBe('no scheduled events');
    expect(await run('scheduled', 'cancel', id)).toMatchObject({ exitCode: 1 });
  });
});

describe('what goes wrong is one line and exit code 1', () => {
  const missingRun = '0192f0c0-0000-7000-8000-000000000001';
  const cases: [string, string[], RegExp][] = [
    ['an unknown command', ['emitt', 'a'], /unknown command 'emitt'/],
    ['an unknown option', ['emit', 'a', '--bogus'], /unknown option '--bogus'/],
    ['a missing argument', ['emit'], /missing required argument 'name'/],
    ['one argument too many', ['runs', 'show', 'a', 'b'], /too many arguments/],
    ['data that is no JSON', ['emit', 'a.b', '{'], /data is not JSON/],
    ['an event name with a space', ['emit', 'a b'], /^ironflow: name: /],
    ['a reserved event name', ['emit', 'ironflow.function.failed'], /^ironflow: name/],
    ['an event too large', ['emit', 'a.b', JSON.stringify('x'.repeat(600_000))], /data/],
    ['a wait without a unit', ['emit', 'a.b', '--wait', '3x'], /--wait.*duration/],
    ['a wait too long', ['emit', 'a.b', '--wait', '2m'], /wait.*at most 60 seconds/],
    ['a function nobody has', ['invoke', 'nobody'], /^ironflow: function: .*no active function/],
    ['a run id that is none', ['runs', 'show', 'x'], /^ironflow: id: must be/],
    ['a run nobody has', ['runs', 'show', missingRun], /no run of that id/],
    ['watching a run nobody has', ['runs', 'watch', missingRun], /no run of that id/],
    ['a status there is not', ['runs', 'list', '--status', 'lost'], /--status.*Allowed choices are queued/],
    ['a page too long', ['runs', 'list', '--limit', '201'], /--limit.*number from 1 to 200/],
    ['a page that is no number', ['runs', 'list', '--limit', '1x'], /--limit.*number from 1 to 200/],
    ['a time that is none', ['runs', 'list', '--from', 'yesterday'], /--from.*must be a time/],
    ['a cursor of somebody else', ['runs', 'list', '--cursor', 'x'], /^ironflow: cursor/],
    [
      'a URL that is none',
      ['runs', 'list', '--url', 'localhost:7400'],
      /--url: must be an http or https URL/,
    ],
    [
      'a rerun of runs that go on',
      ['runs', 'rerun-all', '--status', 'running'],
      /--status.*Allowed choices are completed/,
    ],
    [
      'a provider there is not',
      ['webhooks', 'create', 'a', '--provider', 'x'],
      /--provider.*Allowed choices/,
    ],
    ['a source nobody has', ['webhooks', 'show', 'nobody'], /no source of webhooks of that id/],
    [
      'a scheme that is no JSON',
      ['webhooks', 'create', 'a', '--provider', 'custom', '--scheme', '{'],
      /--scheme.*must be JSON/,
    ],
    ['a head that is no hash', ['audit', 'verify', '--head', 'abc'], /--head.*64 hexadecimal digits/],
    [
      'a quota that is no number',
      ['quotas', 'set', 'local/dev', '--queued-runs', 'many'],
      /--queued-runs.*number from 1/,
    ],
    ['a retention of a day', ['retention', 'set', '1'], /number from 2 to 36500/],
    ['no quota', ['quotas', 'set', 'local/dev'], /give at least one quota/],
    ['a grace without a unit', ['webhooks', 'rotate', 'a', '--grace', '3'], /--grace.*duration/],
    ['a reason there is not', ['dlq', 'list', '--reason', 'bad'], /--reason.*Allowed choices are run_failed/],
    ['a wrong key', ['runs', 'list', '--key', 'ifk_wrong'], /API key/],
    ['an app URL that is none', ['apps', 'sync', 'localhost'], /is not an http or https URL/],
    ['a port that is none', ['up', '--port', '70000'], /--port.*number from 0 to 65535/],
    ['a folder that is none', ['dev', '--watch', '/nonexistent'], /--watch: \/nonexistent is no folder/],
    ['dev with an app URL that is none', ['dev', '--app', 'x'], /is not an http or https URL/],
    ['migrate without a database', ['migrate'], /DATABASE_URL: set it/],
  ];

  test.each(cases)('%s', async (_name, args, message) => {
    const { exitCode, out, err } = await run(...args);
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: '' });
    expect(err).toMatch(message);
    expect(err).toMatch(/^ironflow: [^\n]+$/);
    const asJson = await run(...args, '--json');
    expect(asJson.exitCode).toBe(1);
    expect(JSON.parse(asJson.err)).toEqual({
      error: expect.objectContaining({ code: expect.any(String), message: expect.any(String) }),
    });
  });

  test('a platform that cannot be reached', async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const { exitCode, err } = await run('functions', 'list', '--url', url);
    expect(exitCode).toBe(1);
    expect(err).toMatch(/^ironflow: no answer from \S+: is the platform running\?/);
  });

  test('no key, or an empty one', async () => {
    const { exitCode, err } = await cli(['functions', 'list'], { env: { ...env, IRONFLOW_API_KEY: '' } });
    expect({ exitCode, err }).toEqual({ exitCode: 1, err: expect.stringMatching(/^ironflow: no API key: /) });
  });

  test('the run of another environment', async () => {
    const other = await platform.createEnvironment('cli', 'other');
    const { runs } = await json<Emitted>('emit', 'order.placed', '--wait', '20s');
    const { exitCode, err } = await run('runs', 'show', runs[0]!.id, '--key', other.apiKey);
    expect({ exitCode, err }).toEqual({ exitCode: 1, err: expect.stringContaining('no run of that id') });
    const client = createClient({ ironflowUrl: platform.url, apiKey: other.apiKey });
    expect((await client.runs.list()).runs).toEqual([]);
  });

  test('an app that is not there, is none, or cannot register', async () => {
    const gone = await run('apps', 'sync', `http://127.0.0.1:${await freePort()}`);
    expect(gone.err).toMatch(/^ironflow: the app at \S+ cannot be reached: ECONNREFUSED$/);
    const page = await listen((_request, response) => void response.end('<html>'));
    expect((await run('apps', 'sync', page)).err).toContain(
      'it answered 200, and not as a served Ironflow app does',
    );
    const empty = await listen((_request, response) => void response.end('{}'));
    expect((await run('apps', 'sync', empty)).err).toContain('not as a served Ironflow app does');
    const hello = createFunction({ id: 'hello', triggers: [] }, async () => 1);
    const handler = serve({
      app: 'lost',
      functions: [hello],
      dev: true,
      ironflowUrl: platform.url,
      apiKey: 'ifk_wrong',
    });
    const refused = await listen((request, response) => handler.node(request, response));
    const { exitCode, err } = await run('apps', 'sync', refused);
    expect({ exitCode, err }).toEqual({
      exitCode: 1,
      err: expect.stringMatching(/did not register: .*API key/),
    });
  });
});

describe('doctor', () => {
  interface Diagnosis {
    ok: boolean;
    findings: { check: string; result: string; detail: string }[];
  }

  async function diagnose(options: { args?: string[]; env?: NodeJS.ProcessEnv } = {}) {
    const { exitCode, out } = await cli(['doctor', '--json', ...(options.args ?? [])], {
      env: options.env ?? env,
    });
    const { ok, findings } = JSON.parse(out) as Diagnosis;
    expect(exitCode).toBe(ok ? 0 : 1);
    return Object.fromEntries(findings.map(({ check, result, detail }) => [check, `${result}: ${detail}`]));
  }

  test('everything is well', async () => {
    expect(await diagnose()).toEqual({
      node: expect.stringMatching(/^ok/),
      platform: `ok: ${platform.url} (IRONFLOW_URL) is ready`,
      clock: 'ok: agrees with the platform',
      key: 'ok: admin of local/dev (IRONFLOW_API_KEY)',
      functions: expect.stringMatching(/^ok: \d+ registered/),
    });
    expect((await run('doctor')).out).toMatch(/^ok    node .*\nok    platform /);
  });

  test('nothing answers', async () => {
    const args = ['--url', `http://127.0.0.1:${await freePort()}`];
    expect(await diagnose({ args })).toMatchObject({
      platform: expect.stringMatching(/^fail: .*cannot be reached/),
    });
  });

  test('the key is wrong, or there is none', async () => {
    expect(await diagnose({ args: ['--key', 'ifk_wrong'] })).toMatchObject({
      platform: expect.stringMatching(/^ok/),
      key: 'fail: the platform does not know it (--key)',
    });
    expect(await diagnose({ env: { IRONFLOW_URL: platform.url } })).toMatchObject({
      platform: expect.stringMatching(/^ok/),
      key: expect.stringMatching(/^fail: there is none/),
    });
  });

  test('no functions are worth a note', async () => {
    const { apiKey } = await platform.createEnvironment('cli', 'empty');
    const { functions } = await diagnose({ args: ['--key', apiKey] });
    expect(functions).toMatch(/^note: none is registered/);
  });

  test('the clocks differ', async () => {
    const url = await listen((_request, response) => {
      response.setHeader('date', new Date(Date.now() - 10 * 60_000).toUTCString());
      response.end('{"ready":true,"checks":{"nats":"ok"}}');
    });
    expect(await diagnose({ args: ['--url', url] })).toMatchObject({
      clock: expect.stringMatching(/^fail: (599|600|601) s off/),
    });
  });

  test('the platform is not ready, or is something else', async () => {
    const unready = await listen((_request, response) => {
      response.statusCode = 503;
      response.end('{"ready":false,"checks":{"nats":"ok","postgres":"timed out"}}');
    });
    const ill = await diagnose({ args: ['--url', unready] });
    expect(ill['platform']).toMatch(/^fail: .* is not ready: postgres: timed out$/);
    const page = await listen((_request, response) => void response.end('<html>'));
    const other = await diagnose({ args: ['--url', page] });
    expect(other['platform']).toMatch(/is another program there\?$/);
  });

  test('an installation is looked at with the variables of its services, which are in no finding', async () => {
    const port = await freePort();
    const installation = {
      DATABASE_URL: `postgresql://ironflow_service:hunter2@127.0.0.1:${port}/ironflow`,
      NATS_URL: `nats://127.0.0.1:${port}`,
    };
    const { exitCode, out } = await cli(['doctor', '--installation'], { env: installation });
    expect(exitCode).toBe(1);
    expect(out).toMatch(/^ok    node /);
    expect(out).toMatch(/^FAIL  nats {7}nats:\/\/127\.0\.0\.1:\d+ cannot be reached/m);
    expect(out).toMatch(/^FAIL  postgres {3}DATABASE_URL, 127\.0\.0\.1:\d+\/ironflow: /m);
    const beside = await diagnose({ args: ['--installation'], env: { ...env, ...installation } });
    expect(beside).toMatchObject({ platform: `ok: ${platform.url} (IRONFLOW_URL) is ready` });
    expect(beside['clocks']).toBe('ok: this machine, the platform agree');
    expect(out + JSON.stringify(beside)).not.toContain('hunter2');
  });

  test('a broken file of credentials is as good as none', async () => {
    mkdirSync(scratch.file('broken'));
    writeFileSync(scratch.file('broken', 'credentials.json'), '{');
    const diagnosis = await diagnose({ env: { ...env, IRONFLOW_DATA: scratch.file('broken') } });
    expect(diagnosis).toMatchObject({ key: expect.stringMatching(/^ok/) });
  });
});
