import { expect, test } from '@jest/globals';
import { createMetrics } from '@ironflow/service';
import { createWebhookRoom } from './webhook-room.js';

const mebibyte = 1024 * 1024;
const roomFor = () => createWebhookRoom(createMetrics({ service: 'test' }));
const overloaded = /too many deliveries are being read/;

test('one sender gets 4 MiB, and has room again for what was let go, once', () => {
  const room = roomFor();
  const leave = room.reserve('10.0.0.1', 2 * mebibyte);
  room.reserve('10.0.0.1', 2 * mebibyte);
  expect(() => room.reserve('10.0.0.1', 1)).toThrow(overloaded);
  leave();
  leave();
  room.reserve('10.0.0.1', 2 * mebibyte);
  expect(() => room.reserve('10.0.0.1', 1)).toThrow(overloaded);
});

test('all senders together get 16 MiB', () => {
  const room = roomFor();
  const leaving = [1, 2, 3, 4].map((host) => room.reserve(`10.0.0.${host}`, 4 * mebibyte));
  expect(() => room.reserve('10.0.0.5', 1)).toThrow(overloaded);
  leaving[0]!();
  room.reserve('10.0.0.5', 4 * mebibyte);
  expect(() => room.reserve('10.0.0.1', 1)).toThrow(overloaded);
});
