/** Key-value buckets of an environment: what they are set to is in Postgres, their values are in NATS. */
import type { Authenticator, KvBucketStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { PutOutcome, UserBucket, UserBucketChange, UserBuckets } from '@ironflow/jetstream';
import { limits, routes } from '@ironflow/schema';
import type { KvBucket, KvChange, KvEntry } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import { isStillAllowed, openStream } from './open-stream.js';
import { payloadText } from './payload-text.js';
import { serve } from './serve-route.js';
import type { Watches } from './watches.js';

export interface KvOptions {
  authenticator: Authenticator;
  kvBuckets: KvBucketStore;
  userBuckets: UserBuckets;
  watches: Pick<Watches, 'watch'>;
}

export function addKv(app: HttpApp, options: KvOptions): void {
  addBuckets(app, options);
  addKeys(app, options);
  addWatch(app, options);
}

function addBuckets(app: HttpApp, options: KvOptions): void {
  const { kvBuckets, userBuckets } = options;
  serve(app, options, routes.putKvBucket, async (request) => {
    const environmentId = environmentOf(request);
    const { bucket: name } = request.params;
    const before = await kvBuckets.get(environmentId, name);
    const bucket = await kvBuckets.put(environmentId, name, request.body);
    try {
      await userBuckets.ensure({ environmentId, name }, bucket);
    } catch (error) {
      // What is not so is not said to be.
      if (before === undefined) await kvBuckets.delete(environmentId, name);
      else await kvBuckets.put(environmentId, name, before);
      throw error;
    }
    return bucket;
  });
  serve(app, options, routes.listKvBuckets, async (request) => ({
    buckets: await kvBuckets.list(environmentOf(request)),
  }));
  serve(app, options, routes.getKvBucket, (request) =>
    bucketOf(kvBuckets, environmentOf(request), request.params.bucket),
  );
  serve(app, options, routes.deleteKvBucket, async (request) => {
    const environmentId = environmentOf(request);
    const { bucket: name } = request.params;
    await bucketOf(kvBuckets, environmentId, name);
    // Before, so that a process that dies leaves none that nobody knows of; and after, for whoever made it again in between.
    await userBuckets.remove({ environmentId, name });
    await kvBuckets.delete(environmentId, name);
    await userBuckets.remove({ environmentId, name });
    return { name };
  });
}

function addKeys(app: HttpApp, options: KvOptions): void {
  const open = (request: FastifyRequest, name: string) => openBucket(options, environmentOf(request), name);
  serve(app, options, routes.listKvKeys, async (request) => {
    const bucket = await open(request, request.params.bucket);
    const { pattern, limit, cursor } = request.query;
    const all = await bucket.keys(pattern, limits.kvKeysListedMax);
    if (all === undefined) {
      const rule = `names more than ${limits.kvKeysListedMax} keys: narrow it`;
      throw new IronflowError('invalid', 'too_many_keys', rule, { field: 'pattern' });
    }
    const rest = cursor === undefined ? all : all.filter((key) => key > cursor);
    const keys = rest.slice(0, limit);
    return { keys, ...(rest.length > limit ? { nextCursor: keys.at(-1)! } : {}) };
  });
  serve(app, options, routes.getKvKey, async (request): Promise<KvEntry> => {
    const bucket = await open(request, request.params.bucket);
    const found = await bucket.get(request.params.key);
    if (found === undefined) throw keyNotFound();
    const { key, revision, changedAt: updatedAt } = found;
    return { key, revision, value: JSON.parse(found.value!), updatedAt };
  });
  serve(app, options, routes.putKvKey, async (request) => {
    const bucket = await open(request, request.params.bucket);
    const { key } = request.params;
    const { value, ...expected } = request.body;
    const text = payloadText('kv', value) ?? 'null';
    return { key, revision: revisionOf(await bucket.put(key, text, expected)) };
  });
  serve(app, options, routes.deleteKvKey, async (request) => {
    const bucket = await open(request, request.params.bucket);
    const { key } = request.params;
    if ((await bucket.get(key)) === undefined) throw keyNotFound();
    return { key, revision: revisionOf(await bucket.delete(key, request.query.revision)) };
  });
  serve(app, options, routes.getKvHistory, async (request) => {
    const bucket = await open(request, request.params.bucket);
    const changes: KvChange[] = [];
    for (let from = 1; ; from = changes.at(-1)!.revision + 1) {
      const next = await bucket.next(request.params.key, from);
      if (next === undefined) break;
      changes.push(toChange(next));
    }
    if (changes.length === 0) throw keyNotFound();
    return { changes };
  });
}

function addWatch(app: HttpApp, options: KvOptions): void {
  serve(app, options, routes.watchKv, async (request, reply) => {
    const environmentId = environmentOf(request);
    const bucket = await openBucket(options, environmentId, request.params.bucket);
    const { pattern, after = 0 } = request.query;
    let seen = after;
    options.watches.watch({
      environmentId,
      next: async () => {
        const next = await bucket.next(pattern, seen + 1);
        if (next === undefined) return undefined;
        seen = next.revision;
        return `event: change\ndata: ${JSON.stringify(toChange(next))}\n\n`;
      },
      listen: (onChange) => bucket.onChange(pattern, onChange),
      open: () => openStream(request, reply),
      isAllowed: () => isStillAllowed(options.authenticator, request, routes.watchKv),
    });
    return reply;
  });
}

/** One that NATS has lost is made again, empty; one that was deleted meanwhile is not. */
async function openBucket(
  { kvBuckets, userBuckets }: KvOptions,
  environmentId: string,
  name: string,
): Promise<UserBucket> {
  await bucketOf(kvBuckets, environmentId, name);
  const place = { environmentId, name };
  return userBuckets.open(place, async () =>
    userBuckets.ensure(place, await bucketOf(kvBuckets, environmentId, name)),
  );
}

async function bucketOf(store: KvBucketStore, environmentId: string, name: string): Promise<KvBucket> {
  const bucket = await store.get(environmentId, name);
  if (bucket !== undefined) return bucket;
  const message = 'there is no bucket of that name in this environment';
  throw new IronflowError('not_found', 'kv_bucket_not_found', message);
}

function revisionOf(outcome: PutOutcome): number {
  if (outcome.kind === 'stored') return outcome.revision;
  if (outcome.kind === 'full') {
    throw new IronflowError('conflict', 'kv_bucket_full', 'the bucket has as many bytes as it may');
  }
  const rule = 'the key is at another revision';
  throw new IronflowError('conflict', 'revision_mismatch', rule, { field: 'revision' });
}

function toChange({ key, revision, value, changedAt: updatedAt }: UserBucketChange): KvChange {
  const what = value === undefined ? { deleted: true as const } : { value: JSON.parse(value) as unknown };
  return { key, revision, ...what, updatedAt };
}

function environmentOf(request: FastifyRequest): string {
  return principalOf(request).scope.environmentId;
}

function keyNotFound(): IronflowError {
  return new IronflowError('not_found', 'kv_key_not_found', 'there is no such key in the bucket');
}
