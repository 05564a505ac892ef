/** A worker that speaks the bare protocol and does nothing by itself: for what a real one would never do. */
import { WebSocket } from 'ws';
import { executorMessageSchema, protocolVersion, workerPath } from '@ironflow/schema';
import type { ExecutorMessage, StepRecord, Writer } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';

export interface RawWorker {
  readonly received: ExecutorMessage[];
  /** Messages of one frame. */
  send(...messages: unknown[]): void;
  sendText(text: string): void;
  /** The nth message of that type, from 0. */
  next<Type extends ExecutorMessage['type']>(
    type: Type,
    index?: number,
    timeoutMs?: number,
  ): Promise<Extract<ExecutorMessage, { type: Type }>>;
  closed(timeoutMs?: number): Promise<{ code: number; reason: string }>;
  /** As a crash does. */
  terminate(): void;
}

export interface RawWorkerOptions {
  url: string;
  apiKey: string;
  /** Said at once, with these changes; `false`: nothing is said. */
  hello?: { appId: string; slots?: number; v?: number; buildId?: string; pinRuns?: boolean } | false;
}

export async function connectRawWorker({ url, apiKey, hello }: RawWorkerOptions): Promise<RawWorker> {
  const socket = new WebSocket(url.replace(/^http/, 'ws') + workerPath, {
    headers: { authorization: `Bearer ${apiKey}` },
  });
  const received: ExecutorMessage[] = [];
  let end: { code: number; reason: string } | undefined;
  socket.on('message', (data: Buffer) => {
    const frame = JSON.parse(data.toString('utf8')) as unknown[];
    for (const message of frame) received.push(executorMessageSchema.parse(message));
  });
  socket.on('close', (code, reason) => (end = { code, reason: reason.toString('utf8') }));
  const worker: RawWorker = {
    received,
    send: (...messages) => socket.send(JSON.stringify(messages)),
    sendText: (text) => socket.send(text),
    next: (type, index = 0, timeoutMs = 10_000) =>
      eventually(
        () => {
          const found = received.filter((message) => message.type === type)[index];
          if (found === undefined) throw new Error(`no ${type} yet`);
          return found as Extract<ExecutorMessage, { type: typeof type }>;
        },
        { timeoutMs },
      ),
    closed: (timeoutMs = 10_000) =>
      eventually(
        () => {
          if (end === undefined) throw new Error('the connection is open');
          return end;
        },
        { timeoutMs },
      ),
    terminate: () => socket.terminate(),
  };
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => undefined);
  if (hello !== false && hello !== undefined) {
    worker.send({ type: 'hello', v: protocolVersion, sdk: 'raw', slots: 10, ...hello });
  }
  return worker;
}

/** What a step says that returned. */
export function completed(id: string, output?: string): StepRecord {
  const times = { startedAtMs: 1, endedAtMs: 2 };
  return {
    id,
    name: id,
    type: 'run',
    attempt: 1,
    status: 'completed',
    ...times,
    ...(output === undefined ? {} : { output }),
  };
}

export function record(
  activation: { writer: Writer; invocation: { run: { id: string } } },
  sequence: number,
  ...records: StepRecord[]
) {
  const { writer, invocation } = activation;
  return { type: 'record', runId: invocation.run.id, writer, sequence, records };
}

export function end(
  activation: { writer: Writer; invocation: { run: { id: string } } },
  outcome: object = { kind: 'completed' },
  records: StepRecord[] = [],
) {
  const { writer, invocation } = activation;
  return { type: 'end', runId: invocation.run.id, writer, records, outcome };
}
