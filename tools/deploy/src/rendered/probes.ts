/** What a kubelet asks of a container, and what it concludes. */
import { request as requestPlain } from 'node:http';
import { request as requestByTls } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '@ironflow/errors';
import type { PodContainer } from './pods.js';
import type { Probe } from './manifest.js';

export interface ProbeEvents {
  onReady(isReady: boolean): void;
  /** It is to be started anew. */
  onDead(why: string): void;
}

/** Until `signal` fires: first its start, then whether it is ready and alive. */
export async function watchContainer(
  of: { container: PodContainer; address: string; signal: AbortSignal },
  events: ProbeEvents,
): Promise<void> {
  const { startup, readiness, liveness } = of.container;
  if (startup !== undefined && !(await startsInTime(startup, of, events))) return;
  await Promise.all([
    readiness === undefined
      ? events.onReady(true)
      : repeat(readiness, of, (failures) => {
          if (failures === 0) events.onReady(true);
          else if (failures >= readiness.failureThreshold) events.onReady(false);
        }),
    liveness === undefined
      ? undefined
      : repeat(liveness, of, (failures, why) => {
          if (failures >= liveness.failureThreshold) events.onDead(`liveness: ${why}`);
        }),
  ]);
}

interface Watched {
  container: PodContainer;
  address: string;
  signal: AbortSignal;
}

async function startsInTime(probe: Probe, of: Watched, events: ProbeEvents): Promise<boolean> {
  let hasStarted = false;
  const done = new AbortController();
  const signal = AbortSignal.any([of.signal, done.signal]);
  await repeat(probe, { ...of, signal }, (failures, why) => {
    if (failures === 0) hasStarted = true;
    else if (failures >= probe.failureThreshold) events.onDead(`startup: ${why}`);
    if (hasStarted || failures >= probe.failureThreshold) done.abort();
  });
  return hasStarted;
}

/** `onResult` is told how often in a row it has failed, and how. */
async function repeat(
  probe: Probe,
  { container, address, signal }: Watched,
  onResult: (failures: number, why: string) => void,
): Promise<void> {
  const pause = (seconds: number): Promise<unknown> =>
    delay(seconds * 1_000, undefined, { signal }).catch(() => undefined);
  await pause(probe.initialDelaySeconds);
  for (let failures = 0; !signal.aborted; await pause(probe.periodSeconds)) {
    const why = await ask(probe, container, address);
    if (signal.aborted) return;
    failures = why === undefined ? 0 : failures + 1;
    onResult(failures, why ?? '');
  }
}

/** Answers with what is wrong. As a kubelet it does not look at the certificate. */
function ask(
  { httpGet, timeoutSeconds }: Probe,
  { ports }: PodContainer,
  address: string,
): Promise<string | undefined> {
  const { path, scheme } = httpGet;
  const port = typeof httpGet.port === 'number' ? httpGet.port : ports[httpGet.port];
  const send = scheme === 'HTTPS' ? requestByTls : requestPlain;
  return new Promise((resolve) => {
    const request = send(
      { host: address, port, path, agent: false, rejectUnauthorized: false, timeout: timeoutSeconds * 1_000 },
      (answer) => {
        answer.resume();
        const { statusCode = 0 } = answer;
        resolve(statusCode >= 200 && statusCode < 400 ? undefined : `${path} answers ${statusCode}`);
      },
    );
    request.once('timeout', () => request.destroy(new Error(`${path} does not answer in time`)));
    request.once('error', (error) => resolve(messageOf(error)));
    request.end();
  });
}
