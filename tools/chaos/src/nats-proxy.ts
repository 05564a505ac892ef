/**
 * Between the services and nats-server: a network that can lose acknowledgements, repeat messages, stand still or break. What it
 * drops is what a network between two processes can lose with a connection that breaks right then, without breaking it.
 */
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import {
  createFrameReader,
  isDeliveryAck,
  isIdentifiedPublish,
  isPublishAck,
  withoutOtherAddresses,
} from './nats-frames.js';
import type { Frame } from './nats-frames.js';
import type { Random } from './random.js';

export interface NatsProxy {
  readonly url: string;
  /** Drops and repeats now and then, until it is told otherwise. */
  setLossy(lossy: boolean): void;
  /** Breaks every connection; new ones are taken. */
  cut(): void;
  /** Nothing passes until it is thawed; what comes meanwhile waits in the sockets. */
  freeze(): void;
  thaw(): void;
  readonly counts: { droppedPublishAcks: number; droppedDeliveryAcks: number; duplicates: number };
  stop(): Promise<void>;
}

export interface NatsProxyOptions {
  /** Of the nats-server. */
  port: number;
  random: Random;
}

const dropChance = 0.05;
const duplicateChance = 0.1;

export async function startNatsProxy({ port, random }: NatsProxyOptions): Promise<NatsProxy> {
  const links = new Set<Link>();
  const counts = { droppedPublishAcks: 0, droppedDeliveryAcks: 0, duplicates: 0 };
  let lossy = false;
  let frozen = false;

  const toServer = (frame: Frame): Buffer[] => {
    if (lossy && isDeliveryAck(frame) && random.chance(dropChance)) {
      counts.droppedDeliveryAcks += 1;
      return [];
    }
    if (lossy && isIdentifiedPublish(frame) && random.chance(duplicateChance)) {
      counts.duplicates += 1;
      return [frame.bytes, frame.bytes];
    }
    return [frame.bytes];
  };
  const toClient = (frame: Frame): Buffer[] => {
    if (lossy && isPublishAck(frame) && random.chance(dropChance)) {
      counts.droppedPublishAcks += 1;
      return [];
    }
    return [withoutOtherAddresses(frame)];
  };

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true });
    const link = { client, upstream };
    links.add(link);
    const close = (): void => {
      links.delete(link);
      client.destroy();
      upstream.destroy();
    };
    pass(client, upstream, toServer, close);
    pass(upstream, client, toClient, close);
    if (frozen) pauseLink(link);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    for (const { client, upstream } of links) {
      client.destroy();
      upstream.destroy();
    }
  };
  return {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counts,
    setLossy: (value) => (lossy = value),
    cut,
    freeze: () => {
      frozen = true;
      for (const link of links) pauseLink(link);
    },
    thaw: () => {
      frozen = false;
      for (const { client, upstream } of links) {
        client.resume();
        upstream.resume();
      }
    },
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}

interface Link {
  client: Socket;
  upstream: Socket;
}

function pauseLink({ client, upstream }: Link): void {
  client.pause();
  upstream.pause();
}

function pass(from: Socket, to: Socket, change: (frame: Frame) => Buffer[], close: () => void): void {
  const read = createFrameReader();
  from.on('data', (chunk) => {
    for (const frame of read(chunk)) for (const bytes of change(frame)) to.write(bytes);
  });
  from.on('error', close);
  from.once('close', close);
}
