/** A server that speaks S3's protocol over HTTP, with one bucket. It knows its one login, and takes signatures (version 4) as they are. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createScratch, eventually, freePort } from '@ironflow/testing';

export interface S3Server {
  /** What its clients need. */
  env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

export async function startS3(bucket: string): Promise<S3Server> {
  const program = createRequire(import.meta.url).resolve('s3rver/bin/s3rver.js');
  const scratch = await createScratch('s3');
  const url = `http://127.0.0.1:${await freePort()}`;
  const place = ['-d', scratch.path, '-a', '127.0.0.1', '-p', new URL(url).port];
  const args = [program, ...place, '--no-vhost-buckets', '--silent', '--configure-bucket', bucket];
  const child = spawn(process.execPath, args, { stdio: 'ignore', env: { ...process.env, NODE_OPTIONS: '' } });
  const ended = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    await scratch.remove();
  };
  try {
    await eventually(() => fetch(url), { timeoutMs: 20_000, description: 'the S3 server' });
  } catch (error) {
    await stop();
    throw error;
  }
  const login = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' };
  return { env: { ...login, AWS_ENDPOINT_URL_S3: url }, stop };
}
