import { afterAll, expect, test } from '@jest/globals';
import { readNatsGreeting } from './nats-readiness.js';
import { sharedNats, sharedPostgres, startTestServers, stopSharedServers } from './servers.js';

afterAll(stopSharedServers);

test('test servers come up together, and every database is another one', async () => {
  const servers = await startTestServers();
  try {
    expect(servers.postgresUrl).toMatch(/^postgresql:.*\/ironflow$/);
    expect((await readNatsGreeting(servers.nats.port)).serverName).toBe(servers.nats.serverName);
    expect(await servers.createDatabase()).not.toBe(await servers.createDatabase());
  } finally {
    await servers.stop();
  }
  await expect(readNatsGreeting(servers.nats.port)).rejects.toThrow();
});

test('the shared servers are started once a file, whoever asks first', async () => {
  const [one, other] = await Promise.all([sharedPostgres(), sharedPostgres()]);
  expect(other.server).toBe(one.server);
  expect(await sharedNats()).toBe(await sharedNats());
  expect(await one.createDatabase()).not.toBe(await other.createDatabase());
});
