/**
 * When a nats-server is up: its greeting on the client port is its own (by name) and new enough, and its health check
 * says that JetStream works.
 */
import { IronflowError } from '@ironflow/errors';
import { natsVersionMinimum } from '@ironflow/schema';
import { createConnection } from 'node:net';

const answerWithinMs = 1_000;
const greetingBytesMax = 64 * 1024;

export interface NatsGreeting {
  serverName: string;
  version: string;
  /** Whether JetStream is enabled. */
  jetstream: boolean;
}

/** The INFO line every nats-server sends to who connects. */
export function readNatsGreeting(port: number, host = '127.0.0.1'): Promise<NatsGreeting> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ port, host });
    let text = '';
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.setEncoding('utf8').setTimeout(answerWithinMs, () => fail(new Error('it sends no greeting')));
    socket.once('error', fail);
    socket.once('close', () => reject(new Error('it closed the connection')));
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (text.length > greetingBytesMax) fail(new Error('its greeting does not end'));
      const line = /^INFO (\{.*\}) *\r\n/.exec(text)?.[1];
      if (line === undefined) return;
      socket.destroy();
      const { server_name, version, jetstream } = JSON.parse(line) as Record<string, unknown>;
      resolve({ serverName: String(server_name), version: String(version), jetstream: jetstream === true });
    });
  });
}

export function checkNatsVersion(version: string): void {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [majorMinimum, minorMinimum] = natsVersionMinimum;
  if (major > majorMinimum || (major === majorMinimum && minor >= minorMinimum)) return;
  const message = `nats-server ${version} is too old: ${natsVersionMinimum.join('.')} or newer is needed`;
  throw new IronflowError('unavailable', 'nats_server_too_old', message);
}

export type NatsHealth =
  /** JetStream answers, with its streams and consumers recovered. */
  | 'complete'
  /** JetStream is enabled, though the cluster may have no leader yet. */
  | 'jetstream-enabled'
  /** The node is in contact with its cluster's leader. */
  | 'cluster';

const healthQuery: Record<NatsHealth, string> = {
  complete: '',
  'jetstream-enabled': '?js-enabled-only=true',
  cluster: '?js-meta-only=true',
};

/** Throws while it is not healthy. */
export async function checkNatsHealth(monitorUrl: string, health: NatsHealth): Promise<void> {
  const response = await fetch(`${monitorUrl}/healthz${healthQuery[health]}`, {
    signal: AbortSignal.timeout(answerWithinMs),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`its health check says ${text.slice(0, 200)}`);
}
