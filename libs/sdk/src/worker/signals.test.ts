/** SIGTERM as a process of its own gets it: this one must not. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { build } from 'esbuild';
import { activation, runIdOf, startPeer } from '../testing/executor-peer.js';

const program = `
import { createFunction } from './function.js';
import { createWorker } from './worker/worker.js';
const held = new Map();
process.on('message', (runId) => held.get(runId)());
process.channel.unref();
const hold = createFunction({ id: 'hold', triggers: [] }, ({ step, run }) =>
  step.run('hold', () => new Promise((resolve) => {
    held.set(run.id, resolve);
    process.send(run.id);
  })),
);
const options = { app: 'shop', functions: [hold], apiKey: 'ifk_test', log: () => {} };
await createWorker(options).start();
await createWorker(options).start();
process.send('ready');
`;

test('SIGTERM ends the process when the last of its workers has drained, however often it comes', async () => {
  const peer = await startPeer();
  const folder = await mkdtemp(join(tmpdir(), 'ironflow-worker-'));
  const outfile = join(folder, 'worker.mjs');
  await build({
    stdin: { contents: program, resolveDir: new URL('..', import.meta.url).pathname, loader: 'ts' },
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    conditions: ['@ironflow/source'],
    // ws is CommonJS.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
  });
  const child = spawn(process.execPath, [outfile], {
    env: { ...process.env, IRONFLOW_URL: peer.url, NODE_OPTIONS: '' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');
  try {
    await once(child, 'message');
    for (const n of [0, 1]) {
      peer.sockets[n]!.send(JSON.stringify([activation(n, 'hold')]));
      expect(await once(child, 'message')).toContain(runIdOf(n));
    }
    child.kill('SIGTERM');
    await peer.next('drain');
    await peer.next('drain');
    child.kill('SIGTERM');
    for (const n of [0, 1]) {
      const closed = once(peer.sockets[n]!, 'close');
      child.send(runIdOf(n));
      expect(await peer.next('end')).toMatchObject({ runId: runIdOf(n), outcome: { kind: 'completed' } });
      await closed;
      if (n === 0) child.kill('SIGTERM');
    }
    expect(await exited).toEqual([null, 'SIGTERM']);
  } finally {
    child.kill('SIGKILL');
    await exited;
    await peer.close();
    await rm(folder, { recursive: true });
  }
});
