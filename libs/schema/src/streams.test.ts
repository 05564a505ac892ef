import { expect, test } from '@jest/globals';
import { bulkConsumer, consumerKindOf, consumers, parsePullConsumer, pullConsumer } from './streams.js';

const environmentId = '01890000-0000-7000-8000-000000000000';
const filterSubject = 'ironflow.acme.prod.steps.pull.a.>';

test.each([{ appId: 'shop' }, { appId: 'my_shop-2' }, { appId: 'my_shop', buildId: 'v1_2' }])(
  'the consumer of lane %o says whose it is',
  (lane) => {
    const { durable } = pullConsumer({ environmentId, lane, filterSubject });
    expect(parsePullConsumer(durable)).toEqual({ environmentId, ...lane });
    expect(consumerKindOf(durable)).toBe('pull');
  },
);

test('consumers that all environments share are counted by their names, lanes by their kind', () => {
  for (const { durable } of Object.values(consumers)) {
    expect([consumerKindOf(durable), parsePullConsumer(durable)]).toEqual([durable, undefined]);
  }
  const { durable } = bulkConsumer({ environmentId, filterSubject });
  expect([consumerKindOf(durable), parsePullConsumer(durable)]).toEqual(['bulk', undefined]);
});
