import { expect, test } from '@jest/globals';
import { runSpanId } from '@ironflow/schema';
import { childLogger, createLogger, runContext } from './logger.js';
import type { LogLevel } from './logger.js';

function createLines(level: LogLevel = 'info') {
  const lines: Record<string, unknown>[] = [];
  const destination = {
    write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>),
  };
  return { lines, logger: createLogger({ service: 'ingest', version: '1.2.3', level, destination }) };
}

test('a line says which service and version wrote it, and joins a trace', () => {
  const { lines, logger } = createLines();
  childLogger(logger, { traceId: 't', runId: 'r', project: 'p', env: undefined }).info('accepted');
  expect(lines[0]).toMatchObject({
    level: 'info',
    service: 'ingest',
    version: '1.2.3',
    trace_id: 't',
    run_id: 'r',
    project: 'p',
    msg: 'accepted',
  });
  expect(lines[0]).not.toHaveProperty('env');
});

test('a line about a run names the run, where it is, and its trace and span', () => {
  const { lines, logger } = createLines();
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const run = { runId: 'r', scope: { project: 'p', env: 'e' } };
  const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
  childLogger(logger, runContext({ ...run, traceparent })).warn('slow');
  childLogger(logger, runContext(run)).warn('slow');
  const place = { run_id: 'r', project: 'p', env: 'e' };
  expect(lines[0]).toMatchObject({ ...place, trace_id: traceId, span_id: runSpanId('r') });
  expect(lines[1]).toMatchObject(place);
  expect(lines[1]).not.toHaveProperty('span_id');
});

test('lines below the level are not written', () => {
  const { lines, logger } = createLines('warn');
  logger.info('no');
  logger.warn('yes');
  expect(lines.map((line) => line['msg'])).toEqual(['yes']);
});

test('credentials are censored wherever they usually are', () => {
  const { lines, logger } = createLines();
  logger.info({
    authorization: 'hunter2',
    headers: { authorization: 'hunter2', cookie: 'hunter2' },
    request: { headers: { authorization: 'hunter2' }, apiKey: 'hunter2' },
    config: { IRONFLOW_MASTER_KEY: 'hunter2', DATABASE_URL: 'hunter2' },
  });
  expect(JSON.stringify(lines)).not.toContain('hunter2');
});

test('an error is told with its causes but without the rows a database adds to it', () => {
  const { lines, logger } = createLines();
  const cause = Object.assign(new Error('duplicate key'), { code: '23505', detail: 'Key (email)=(hunter2)' });
  logger.error({ err: new Error('insert failed', { cause }) }, 'oh');
  expect(lines[0]).toMatchObject({
    err: { type: 'Error', message: 'insert failed', cause: { message: 'duplicate key', code: '23505' } },
  });
  expect(JSON.stringify(lines)).not.toContain('hunter2');
});

test('an error that is its own cause is told in a bounded line', () => {
  const { lines, logger } = createLines();
  const error = new Error('round');
  error.cause = error;
  logger.error({ err: error }, 'oh');
  expect(lines).toHaveLength(1);
});
