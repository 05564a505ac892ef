/** Disks that are really full, seen by `doctor --installation`. What a nats-server is like that has noticed it is shown in libs/jetstream. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createScratch, mountSmallDisk, startNatsServer, startPostgres } from '@ironflow/testing';
import type { Scratch, SmallDisk } from '@ironflow/testing';
import { failuresOf, migrated, startInstallation } from '../testing/installation.js';
import type { Installation } from '../testing/installation.js';

let sound: Installation;
let scratch: Scratch;
beforeAll(async () => {
  scratch = await createScratch('disks');
  sound = await startInstallation();
}, 120_000);
afterAll(async () => {
  await sound?.stop();
  await scratch?.remove();
});

async function onSmallDisk(mebibytes: number, use: (disk: SmallDisk) => Promise<void>): Promise<void> {
  const disk = mountSmallDisk(scratch.file(`disk-${mebibytes}`), mebibytes);
  try {
    await use(disk);
  } finally {
    disk.unmount();
  }
}

test('that of a nats-server', async () => {
  await onSmallDisk(64, async (disk) => {
    const server = await startNatsServer({ storeDir: join(disk.path, 'nats') });
    const env = { ...sound.env, NATS_URL: server.url };
    try {
      expect(await failuresOf(env)).toEqual([]);
      disk.fill();
      expect(await failuresOf(env)).toEqual([
        expect.stringMatching(/^jetstream: JetStream cannot write .*its disk is full/),
      ]);
      disk.makeRoom();
      expect(await failuresOf(env)).toEqual([]);
    } finally {
      await server.kill();
    }
  });
}, 120_000);

test('that of PostgreSQL', async () => {
  await onSmallDisk(256, async (disk) => {
    const postgres = await startPostgres({ dataDir: join(disk.path, 'postgres') });
    try {
      const { env, admin } = await migrated(postgres.url);
      await admin.close();
      const given = { ...env, NATS_URL: sound.nats.url };
      expect(await failuresOf(given)).toEqual([]);
      disk.fill();
      expect(await failuresOf(given)).toEqual([
        expect.stringMatching(/^postgres: its disk is full \(53100\): make room/),
        expect.stringMatching(/^postgres of tenants: its disk is full/),
      ]);
      disk.makeRoom();
      expect(await failuresOf(given)).toEqual([]);
    } finally {
      await postgres.kill();
    }
  });
}, 120_000);
