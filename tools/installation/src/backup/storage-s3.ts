/**
 * Files of a backup in S3-compatible storage, by the variables that its other tools go by. What is larger than one part is
 * uploaded in parts; one part at a time is in memory. Every part is signed with its hash, so that a changed one is refused.
 */
import { createHash } from 'node:crypto';
import { AwsClient } from 'aws4fetch';
import { IronflowError, messageOf } from '@ironflow/errors';
import { fileMissing, inChunks } from './storage.js';
import type { BackupStorage } from './storage.js';

/** Of 10,000 at most that a file has: files up to 156 GiB. */
const partBytes = 16 * 1024 * 1024;
const retries = 5;

interface Part {
  number: number;
  etag: string;
}

type Send = (
  request: { method: string; key: string; query?: Record<string, string> },
  body?: Uint8Array | string,
) => Promise<Response>;

export function openS3(place: string, env: NodeJS.ProcessEnv): BackupStorage {
  const { bucket, prefix } = readPlace(place);
  const send = createSend(env, { place, bucket });
  const keyOf = (name: string): string => (prefix === '' ? name : `${prefix}/${name}`);
  return {
    place,
    write: async (name, content) => {
      const parts = inChunks(content, partBytes);
      const first = await parts.next();
      const bytes = first.done === true ? new Uint8Array() : first.value;
      const second = await parts.next();
      if (second.done === true) {
        await send({ method: 'PUT', key: keyOf(name) }, bytes);
        return;
      }
      await uploadInParts(send, keyOf(name), chain([bytes, second.value], parts));
    },
    read: async (name) => {
      const response = await send({ method: 'GET', key: keyOf(name) }).catch((error: unknown) => {
        throw error instanceof IronflowError && error.category === 'not_found'
          ? fileMissing(place, name)
          : error;
      });
      if (response.body === null) throw fileMissing(place, name);
      return response.body;
    },
  };
}

function readPlace(place: string): { bucket: string; prefix: string } {
  const [bucket = '', ...rest] = place.slice('s3://'.length).split('/');
  const prefix = rest.join('/').replace(/^\/+|\/+$/g, '');
  if (bucket !== '') return { bucket, prefix };
  throw new IronflowError('invalid', 'config_invalid', `${place} names no bucket: s3://<bucket>/<prefix>`);
}

function createSend(env: NodeJS.ProcessEnv, { place, bucket }: { place: string; bucket: string }): Send {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env;
  if (!accessKeyId || !secretAccessKey) {
    const message = 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set both for s3:// places';
    throw new IronflowError('invalid', 'config_invalid', message);
  }
  const region = env['AWS_REGION'] || env['AWS_DEFAULT_REGION'] || 'us-east-1';
  const endpoint =
    env['AWS_ENDPOINT_URL_S3'] || env['AWS_ENDPOINT_URL'] || `https://s3.${region}.amazonaws.com`;
  const sessionToken = env['AWS_SESSION_TOKEN'];
  const client = new AwsClient({
    ...{ accessKeyId, secretAccessKey, region, service: 's3', retries },
    ...(sessionToken ? { sessionToken } : {}),
  });
  return async ({ method, key, query = {} }, body = '') => {
    const path = [bucket, ...key.split('/')].map(encodeURIComponent).join('/');
    const url = `${endpoint.replace(/\/+$/, '')}/${path}?${new URLSearchParams(query).toString()}`;
    const headers = { 'X-Amz-Content-Sha256': createHash('sha256').update(body).digest('hex') };
    const response = await client
      .fetch(url, { method, headers, ...(body.length === 0 ? {} : { body }) })
      .catch((error: unknown) => {
        throw unavailable(place, messageOf(error instanceof Error ? (error.cause ?? error) : error), error);
      });
    if (response.ok) return response;
    throw await refusalOf(place, response);
  };
}

async function uploadInParts(send: Send, key: string, parts: AsyncIterable<Uint8Array>): Promise<void> {
  const created = await send({ method: 'POST', key, query: { uploads: '' } });
  const uploadId = tagOf(await created.text(), 'UploadId');
  if (uploadId === undefined) throw unavailable(key, 'the upload has no id');
  try {
    const done: Part[] = [];
    for await (const part of parts) {
      const number = done.length + 1;
      const query = { partNumber: `${number}`, uploadId };
      const { headers } = await send({ method: 'PUT', key, query }, part);
      done.push({ number, etag: headers.get('etag') ?? '' });
    }
    const listed = done.map(
      ({ number, etag }) => `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`,
    );
    const body = `<CompleteMultipartUpload>${listed.join('')}</CompleteMultipartUpload>`;
    const text = await (await send({ method: 'POST', key, query: { uploadId } }, body)).text();
    // It is answered with 200 before it is known whether it succeeds.
    if (text.includes('<Error>')) throw unavailable(key, tagOf(text, 'Code') ?? 'the upload was refused');
  } catch (error) {
    // Parts of an upload that does not end are paid for and shown nowhere.
    await send({ method: 'DELETE', key, query: { uploadId } }).catch(() => undefined);
    throw error;
  }
}

async function* chain(first: Uint8Array[], rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* first;
  yield* rest;
}

async function refusalOf(place: string, response: Response): Promise<IronflowError> {
  const code = tagOf(await response.text(), 'Code') ?? '';
  const message = `${place}: the storage answered ${response.status} ${code}`.trimEnd();
  if (response.status === 404) return new IronflowError('not_found', 'storage_refused', message);
  if (response.status >= 500) return new IronflowError('unavailable', 'storage_unavailable', message);
  return new IronflowError('forbidden', 'storage_refused', message);
}

function unavailable(place: string, why: string, cause?: unknown): IronflowError {
  return new IronflowError('unavailable', 'storage_unavailable', `${place}: ${why}`, { cause });
}

function tagOf(xml: string, name: string): string | undefined {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
}
