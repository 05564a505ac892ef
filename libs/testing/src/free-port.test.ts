import { expect, test } from '@jest/globals';
import { createServer, type AddressInfo } from 'node:net';
import { freePorts, isPortFree } from './free-port.js';
import { takePort } from './server-port.js';

test('free ports are different and free', async () => {
  const ports = await freePorts(5);
  expect(new Set(ports).size).toBe(5);
  expect(await Promise.all(ports.map(isPortFree))).toEqual([true, true, true, true, true]);
});

test('a port that is asked for and taken is refused with its number and use', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await expect(takePort(port, 'NATS')).rejects.toMatchObject({
    code: 'port_taken',
    message: expect.stringContaining(`port ${port}, wanted for NATS, is taken`),
  });
  await new Promise((resolve) => server.close(resolve));
  expect(await takePort(port, 'NATS')).toBe(port);
});
