import { expect, test } from '@jest/globals';
import { deliveryOf, isDeliveryOf, payloadOfDelivery, readPayloads, toEvent } from './payloads.js';

test('an event is named after its webhook, with the action where there is one', () => {
  const payloads = readPayloads();
  expect(payloads[118]!.eventName).toBe('github.issues.opened');
  expect(payloads[76]!.eventName).toBe('github.fork');
  expect(payloads[266]!.eventName).toBe('github.repository_dispatch.on-demand-test');
});

test('an event carries the payload as it is, under a key of its own', () => {
  const payloads = readPayloads();
  const events = payloads.map((payload) => toEvent(payload, 'github-1'));
  expect(events[205]!.data).toBe(payloads[205]!.data);
  expect(new Set(events.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(payloads.length);
});

test('a delivery tells the payload and the demo', () => {
  const delivery = deliveryOf(42, 'github-1');
  expect(payloadOfDelivery(delivery)).toBe(42);
  expect(isDeliveryOf(delivery, 'github-1')).toBe(true);
  expect(isDeliveryOf(deliveryOf(42, 'github-12'), 'github-1')).toBe(false);
  expect(payloadOfDelivery('a-correlation-of-somebody-else')).toBeNaN();
});
