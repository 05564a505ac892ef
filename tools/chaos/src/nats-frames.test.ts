import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  createFrameReader,
  isDeliveryAck,
  isIdentifiedPublish,
  isPublishAck,
  withoutOtherAddresses,
} from './nats-frames.js';
import type { Frame } from './nats-frames.js';

const conversation = [
  'INFO {"server_id":"a","connect_urls":["127.0.0.1:4222"],"headers":true}\r\n',
  'CONNECT {"verbose":false}\r\nPING\r\nPONG\r\n+OK\r\n',
  'SUB _INBOX.x.* 1\r\n',
  'PUB $JS.ACK.STEPS.executor-push.1.2.3.4.5 4\r\n+ACK\r\n',
  'PUB subject reply 11\r\nwith\r\nlines\r\n',
  'HPUB ironflow.a.b.results.c.step _INBOX.x.1 42 44\r\nNATS/1.0\r\nNats-Msg-Id: 018f-7c\r\nA: 123\r\n\r\n{}\r\n',
  'MSG _INBOX.x.1 1 31\r\n{"stream":"RESULTS", "seq":1234}\r\n',
  'HMSG subject 1 12 12\r\nNATS/1.0\r\n\r\n\r\n',
];
const bytes = Buffer.from(conversation.join(''));

function readAll(chunks: Buffer[]): Frame[] {
  const read = createFrameReader();
  return chunks.flatMap((chunk) => read(chunk));
}

test('however the bytes arrive, every frame is cut out whole and none of them is lost', () => {
  const whole = readAll([bytes]).map((frame) => frame.bytes.toString());
  expect(whole.join('')).toBe(bytes.toString());
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: bytes.length })), (cuts) => {
      const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const chunks = edges.slice(1).map((end, index) => bytes.subarray(edges[index], end));
      expect(readAll(chunks).map((frame) => frame.bytes.toString())).toEqual(whole);
    }),
    { numRuns: 200, seed: 1 },
  );
});

test('what may be dropped or repeated is told from everything else', () => {
  const frames = readAll([bytes]);
  const found = (is: (frame: Frame) => boolean) =>
    frames.filter(is).map(({ verb, parameters }) => `${verb} ${parameters[0]}`);
  expect(found(isPublishAck)).toEqual(['MSG _INBOX.x.1']);
  expect(found(isDeliveryAck)).toEqual(['PUB $JS.ACK.STEPS.executor-push.1.2.3.4.5']);
  expect(found(isIdentifiedPublish)).toEqual(['HPUB ironflow.a.b.results.c.step']);
});

test('a server tells of no address but the one that it was reached at', () => {
  const [info, connect] = readAll([bytes]);
  expect(withoutOtherAddresses(info!).toString()).toBe('INFO {"server_id":"a","headers":true}\r\n');
  expect(withoutOtherAddresses(connect!)).toBe(connect!.bytes);
});
