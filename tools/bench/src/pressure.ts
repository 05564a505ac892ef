/**
 * Scenarios of back-pressure: something takes nothing for a while and the load goes on. What is full refuses, nothing is
 * lost, and when it is gone everything goes on by itself.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { JetStream } from '@ironflow/jetstream';
import type { ServiceName } from '@ironflow/platform';
import { eventually } from '@ironflow/testing';
import type { Injection, Scenario, Scene } from './scenarios.js';

const kibibyte = 1_024;
const fullWithinMs = 60_000;

export const pressureScenarios: Scenario[] = [
  filled({ name: 'results-full', stream: 'RESULTS', reader: 'result-collector', maxBytes: 2_048 * kibibyte }),
  filled({ name: 'steps-full', stream: 'STEPS', reader: 'executor', maxBytes: 64 * kibibyte }),
  {
    ...underPressure('postgres-away'),
    inject: async ({ platform, holdSeconds }) => {
      const seconds = holdSeconds(120);
      await platform.servers.postgres!.kill();
      await pause(seconds * 1_000);
      await platform.servers.postgres!.restart();
      return { fault: `no PostgreSQL for ${seconds} s` };
    },
  },
  {
    ...underPressure('collector-away'),
    inject: async (scene) => {
      const seconds = scene.holdSeconds(70);
      await without(scene, 'result-collector', () => pause(seconds * 1_000));
      return { fault: `no result-collector for ${seconds} s` };
    },
  },
];

interface FilledOptions {
  name: string;
  stream: 'RESULTS' | 'STEPS';
  /** Who empties it. */
  reader: ServiceName;
  /** Of the stream in this scenario. */
  maxBytes: number;
}

/** The stream's reader is away until it refuses, and for a while longer. */
function filled({ name, stream, reader, maxBytes }: FilledOptions): Scenario {
  return {
    ...underPressure(name),
    streams: { [stream]: { maxBytes } },
    // A small stream is full again sooner than it is usually looked at.
    env: { IRONFLOW_RESULTS_TRIM_INTERVAL_MS: '1000' },
    inject: async (scene): Promise<Injection> => {
      const seconds = scene.holdSeconds(60);
      let failures: string[] = [];
      await without(scene, reader, async () => {
        await untilFull(scene.jetstream, stream, maxBytes);
        await pause((seconds - 1) * 1_000);
        failures = await checkRefusing(scene.jetstream, stream);
      });
      return {
        fault: `${stream} full for ${seconds} s (${maxBytes / kibibyte} KiB, no ${reader})`,
        failures,
      };
    },
  };
}

function underPressure(name: string): Omit<Scenario, 'inject'> {
  return { name, replicas: 1, emitsMeanwhile: true, isPressure: true };
}

async function without(
  { platform }: Scene,
  service: ServiceName,
  meanwhile: () => Promise<void>,
): Promise<void> {
  const member = platform.fleet!.of(service)[0]!;
  await member.kill();
  await meanwhile();
  await member.start();
}

interface StreamState {
  bytes: number;
  last_seq: number;
}

/** Room is left for less than a message of each run that goes on. */
async function untilFull(jetstream: JetStream, stream: string, maxBytes: number): Promise<void> {
  await eventually(
    async () => {
      const { bytes } = await readState(jetstream, stream);
      if (bytes < 0.98 * maxBytes) throw new Error(`${stream} has ${bytes} of ${maxBytes} bytes`);
    },
    { timeoutMs: fullWithinMs },
  );
}

/** Whoever writes to it goes on trying: a stream that takes nothing within a second refuses. */
async function checkRefusing(jetstream: JetStream, stream: string): Promise<string[]> {
  const before = await readState(jetstream, stream);
  await pause(1_000);
  const after = await readState(jetstream, stream);
  const taken = after.last_seq - before.last_seq;
  return taken > 0 ? [`${stream} was to be full, and took ${taken} messages within a second`] : [];
}

async function readState({ connection }: JetStream, stream: string): Promise<StreamState> {
  const reply = await connection.request({ subject: `$JS.API.STREAM.INFO.${stream}`, data: '' });
  if (reply.kind !== 'message') throw new Error(`${stream} cannot be read: ${reply.kind}`);
  const { state } = JSON.parse(Buffer.from(reply.data).toString('utf8')) as { state?: StreamState };
  if (state === undefined) throw new Error(`${stream} cannot be read`);
  return state;
}
