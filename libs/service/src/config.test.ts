import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { baseConfigShape, loadConfig, masterKeyConfigShape, tenantDatabaseConfigShape } from './config.js';

const schema = z.object({
  ...baseConfigShape,
  ...tenantDatabaseConfigShape,
  ...masterKeyConfigShape,
});
const valid = {
  DATABASE_URL: 'postgresql://service:pw@db/ironflow',
  TENANT_DATABASE_URL: 'postgres://tenant:pw@db/ironflow',
  IRONFLOW_MASTER_KEY: Buffer.alloc(32, 7).toString('base64'),
};

test('what is absent or empty takes its default', () => {
  const config = loadConfig(schema, { ...valid, LOG_LEVEL: '', PORT: '', OTEL_EXPORTER_OTLP_ENDPOINT: '' });
  expect(config).toMatchObject({
    NATS_URL: 'nats://127.0.0.1:4222',
    HOST: '127.0.0.1',
    PORT: 8080,
    LOG_LEVEL: 'info',
    OTEL_TRACES_SAMPLER_ARG: 1,
  });
  expect(config.OTEL_EXPORTER_OTLP_ENDPOINT).toBeUndefined();
  expect(config.IRONFLOW_MASTER_KEY).toBe(Buffer.alloc(32, 7).toString('base64'));
});

test('what is given arrives with its type', () => {
  const config = loadConfig(schema, {
    ...valid,
    PORT: '0',
    NATS_URL: 'nats://a:4222, tls://b:4222',
    OTEL_TRACES_SAMPLER_ARG: '0.25',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
  });
  expect(config).toMatchObject({
    PORT: 0,
    OTEL_TRACES_SAMPLER_ARG: 0.25,
    NATS_URL: 'nats://a:4222, tls://b:4222',
  });
});

test('proxies are addresses and ranges, and nobody unless they are named', () => {
  expect(loadConfig(schema, valid).IRONFLOW_TRUSTED_PROXIES).toEqual([]);
  const given = { ...valid, IRONFLOW_TRUSTED_PROXIES: '10.0.0.0/8, ::1,fd00::/8,,192.0.2.1' };
  const expected = ['10.0.0.0/8', '::1', 'fd00::/8', '192.0.2.1'];
  expect(loadConfig(schema, given).IRONFLOW_TRUSTED_PROXIES).toEqual(expected);
  for (const wrong of ['true', '1', '10.0.0.0/33', '::1/129', '10.0.0.0/8/8', '10.0.0.0/', 'loopback']) {
    const attempt = () => loadConfig(schema, { ...valid, IRONFLOW_TRUSTED_PROXIES: wrong });
    expect(messageOfFailure(attempt)).toContain('IRONFLOW_TRUSTED_PROXIES: must be addresses or ranges');
  }
});

test('every bad variable is named with its rule, and no value is shown', () => {
  const secrets = {
    DATABASE_URL: 'mysql://u:hunter2@db/x',
    IRONFLOW_MASTER_KEY: 'aHVudGVyMg==',
    PORT: '70000hunter2',
    LOG_LEVEL: 'hunter2',
    NATS_URL: 'http://hunter2',
    OTEL_TRACES_SAMPLER_ARG: '1.5',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'hunter2',
  };
  const message = messageOfFailure(() => loadConfig(schema, secrets));
  for (const name of Object.keys(secrets)) expect(message).toContain(`${name}: `);
  expect(message).toContain('TENANT_DATABASE_URL: is required');
  expect(message).toContain('PORT: must be a port number from 0 to 65535');
  expect(message).toContain('IRONFLOW_MASTER_KEY: must be 32 bytes in base64');
  expect(message).not.toMatch(/hunter2|aHVudGVyMg/);
});

test.each(['nats://user:hunter2@a:4222', 'nats://a,tls://hunter2@b', 'user:hunter2@a'])(
  'credentials in the URL of NATS are refused, and where they belong is said: %s',
  (NATS_URL) => {
    const message = messageOfFailure(() => loadConfig(schema, { ...valid, NATS_URL }));
    expect(message).toMatch(
      /NATS_URL: must not contain credentials: .*NATS_USER and NATS_PASSWORD, NATS_TOKEN, or NATS_CREDS_FILE$/,
    );
    expect(message).not.toContain('hunter2');
    const own = { NATS_USER: 'service', NATS_PASSWORD: 'hunter2', NATS_TOKEN: 'hunter3' };
    expect(loadConfig(schema, { ...valid, ...own })).toMatchObject(own);
  },
);

function messageOfFailure(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}
