import { expect, test } from '@jest/globals';
import { isolatedEnv } from './isolated-env.js';

test('of the user’s variables only those pass that programs need to run, and no server of theirs', () => {
  const own = {
    PATH: '/bin',
    NATS_SERVER_BIN: '/opt/nats-server',
    https_proxy: 'http://proxy:3128',
    DATABASE_URL: 'postgresql://production',
    NATS_URL: 'nats://production',
    IRONFLOW_MASTER_KEY: 'secret',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector',
    LOG_LEVEL: 'debug',
  };
  const { PATH, NATS_SERVER_BIN, https_proxy } = own;
  expect(isolatedEnv(own)).toEqual({
    PATH,
    NATS_SERVER_BIN,
    https_proxy,
    DATABASE_URL: '',
    NATS_URL: '',
  });
});
