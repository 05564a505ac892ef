import { expect, test } from '@jest/globals';
import type { Delivery } from '@ironflow/jetstream';
import { runSpanId } from '@ironflow/schema';
import { createLogger } from '@ironflow/service';
import { runLogger } from './run-logger.js';

const runId = '01890000-0000-7000-8000-000000000001';
const scope = { project: 'shop', env: 'prod', environmentId: '01890000-0000-7000-8000-000000000000' };
const traceId = '0af7651916cd43dd8448eb211c80319c';
const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
const about = { run_id: runId, project: 'shop', env: 'prod', trace_id: traceId, span_id: runSpanId(runId) };

function lineOf(headers: Record<string, string>, text: string, known?: string): unknown {
  const lines: unknown[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const delivery = { header: (name: string) => headers[name], text: () => text, sequence: 7 } as Delivery;
  runLogger(createLogger({ service: 'executor', destination }), delivery, known).warn('slow');
  return lines[0];
}

test('a line about a run has its trace, from the message or, of one that was woken, from the run', () => {
  const activation = JSON.stringify({ runId, scope });
  expect(lineOf({ traceparent }, activation)).toMatchObject(about);
  expect(lineOf({}, activation, traceparent)).toMatchObject(about);
  const { trace_id: _, span_id: __, ...place } = about;
  expect(lineOf({}, activation)).toMatchObject(place);
});

test('a line about what is no activation names the message, and nothing that it says', () => {
  const line = lineOf({ traceparent }, '{"runId": "hunter2"}');
  expect(line).toMatchObject({ sequence: 7 });
  expect(JSON.stringify(line)).not.toContain('hunter2');
});
