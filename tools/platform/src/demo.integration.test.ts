import { expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { freePort } from '@ironflow/testing';

const demo = fileURLToPath(new URL('../dist/demo.js', import.meta.url));

test('the demo asks no server of the user’s, and leaves nothing behind when it is interrupted', async () => {
  const closed = await freePort();
  const env = {
    ...process.env,
    NODE_OPTIONS: '',
    DATABASE_URL: `postgresql://me@127.0.0.1:${closed}/mine`,
    NATS_URL: `nats://127.0.0.1:${closed}`,
    IRONFLOW_MASTER_KEY: 'mine',
  };
  const child = spawn(process.execPath, [demo], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    if (line.startsWith('Ironflow at')) child.kill('SIGINT');
  });
  const [code] = (await once(child, 'close')) as [number];
  expect(code).toBe(130);
  const text = lines.join('\n');
  expect(text).toMatch(/^PostgreSQL on 127\.0\.0\.1:\d+ \(embedded/m);
  expect(text).toMatch(/^nats-server on 127\.0\.0\.1:\d+ with JetStream/m);
  const [, folder] = /; (\S+) is removed$/m.exec(text)!;
  expect(existsSync(folder!)).toBe(false);
}, 60_000);
