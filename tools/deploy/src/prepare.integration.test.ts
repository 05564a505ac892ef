import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEnv, promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createScratch } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { deployFolder, readDeployed } from './files-of-deploy.js';

const run = promisify(execFile);
const cli = join(deployFolder, '../tools/cli/bin/ironflow.js');
let scratch: Scratch;
let folder: string;

const prepare = () =>
  run('bash', [join(deployFolder, 'prepare.sh')], {
    env: { ...process.env, DEPLOY_FOLDER: folder, IRONFLOW_CLI: `${process.execPath} ${cli}` },
  });

beforeAll(async () => {
  scratch = await createScratch('prepare');
  folder = scratch.file('deploy');
  await mkdir(folder);
  await copyFile(join(deployFolder, 'compose.yaml'), join(folder, 'compose.yaml'));
  await prepare();
}, 60_000);
afterAll(() => scratch.remove());

test('everything that compose.yaml asks for is there, and of a form that services take', async () => {
  const made = parseEnv(await readFile(join(folder, '.env'), 'utf8'));
  const asked = [...readDeployed('compose.yaml').matchAll(/\$\{(\w+):\?/g)].map(([, name]) => name!);
  expect(Object.keys(made).sort()).toEqual([...new Set(asked)].sort());
  expect(made.IRONFLOW_USER).toBe(`${process.getuid!()}:${process.getgid!()}`);
  expect(Buffer.from(made.IRONFLOW_MASTER_KEY!, 'base64')).toHaveLength(32);
  expect(made.IRONFLOW_OPERATOR_KEY).toMatch(/^ifo_\w{49}$/);
  // They are put into URLs as they are.
  for (const name of asked.filter((one) => one.endsWith('PASSWORD')))
    expect(made[name]).toMatch(/^[0-9a-f]{48}$/);
});

test('certificates are good for the names of the servers, and signed by the authority', async () => {
  const authority = new X509Certificate(await readFile(join(folder, 'secrets/services/ca.crt')));
  for (const [path, name] of [
    ['postgres/tls.crt', 'postgres'],
    ['nats-tls/tls.crt', 'nats'],
  ] as const) {
    const certificate = new X509Certificate(await readFile(join(folder, 'secrets', path)));
    expect(certificate.verify(authority.publicKey)).toBe(true);
    expect(certificate.checkHost(name)).toBe(name);
    expect(certificate.checkHost('elsewhere')).toBeUndefined();
  }
});

test('what is made is its owner’s alone, and no key of the authority is left', async () => {
  const files = await readdir(join(folder, 'secrets'), { recursive: true, withFileTypes: true });
  for (const file of files.filter((entry) => entry.isFile())) {
    const { mode } = await stat(join(file.parentPath, file.name));
    expect([file.name, mode & 0o077]).toEqual([file.name, 0]);
  }
  expect((await stat(join(folder, '.env'))).mode & 0o777).toBe(0o600);
  expect(files.map(({ name }) => name)).not.toContain('ca.key');
});

test('a second time nothing is touched', async () => {
  const before = await readFile(join(folder, '.env'), 'utf8');
  await expect(prepare()).rejects.toMatchObject({ stderr: expect.stringContaining('are left as they are') });
  expect(await readFile(join(folder, '.env'), 'utf8')).toBe(before);
});
