/**
 * Messages of tenants' topics in PUBSUB: published once for a key, and read from the stream one after the other. What is heard
 * only says that there is something to read, so that whoever reads misses nothing and sees nothing twice.
 */
import { createHash } from 'node:crypto';
import { IronflowError } from '@ironflow/errors';
import { matchesEventPattern, parseSubject, subjects } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import type { Connection } from './connection.js';
import type { Publisher } from './publisher.js';
import { createStreamStates } from './stream-state.js';

export interface StoredTopicMessage {
  sequence: number;
  topic: string;
  /** JSON text, as it came. */
  data: string;
  publishedAt: string;
}

export interface Topics {
  /** Answers its sequence; that of the first when the key was used for this topic within the stream's duplicate window. */
  publish(scope: Scope, message: { topic: string; data: string; key: string | undefined }): Promise<number>;
  /** The first at or after a sequence. All of these reject with `unavailable` when the stream does not answer. */
  next(scope: Scope, pattern: string, from: number): Promise<StoredTopicMessage | undefined>;
  /** Of the whole stream. */
  lastSequence(): Promise<number>;
  /** Something may be there to be read. */
  onMessage(scope: Scope, pattern: string, listener: () => void): () => void;
}

export interface TopicsOptions {
  connection: Connection;
  publisher: Publisher;
  /** Told when the stream is missing, so that somebody provisions it. */
  onNoStream: () => void;
}

const getSubject = '$JS.API.STREAM.MSG.GET.PUBSUB';
const noMessageFound = 10037;
const streamNotFound = 10059;
const decoder = new TextDecoder();

export function createTopics({ connection, publisher, onNoStream }: TopicsOptions): Topics {
  const states = createStreamStates(connection);
  const listeners = createListeners(connection);
  return {
    publish: async (scope, { topic, data, key }) => {
      const messageId = key === undefined ? {} : { messageId: messageIdOf(scope, topic, key) };
      const result = await publisher.publish({
        subject: subjects.topicMessage(scope, topic),
        data,
        ...messageId,
      });
      if (result.kind !== 'stored') throw unavailable(result.kind);
      return result.sequence;
    },
    next: async (scope, pattern, from) => {
      const query = { seq: from, next_by_subj: subjects.topicMessage(scope, pattern) };
      const reply = await connection.request({ subject: getSubject, data: JSON.stringify(query) });
      if (reply.kind === 'no_responders') onNoStream();
      if (reply.kind !== 'message') throw unavailable(reply.kind);
      const { message, error } = JSON.parse(decoder.decode(reply.data)) as GetBody;
      if (message !== undefined) return read(message);
      if (error?.err_code === noMessageFound) return undefined;
      if (error?.err_code === streamNotFound) onNoStream();
      throw unavailable(error?.description ?? 'no message');
    },
    lastSequence: async () => {
      try {
        return (await states.stream('PUBSUB')).lastSequence;
      } catch {
        onNoStream();
        throw unavailable('the stream does not answer');
      }
    },
    onMessage: listeners.add,
  };
}

interface Listener {
  pattern: string;
  listener: () => void;
}

/**
 * One subscription an environment, however many listen there: the server sends a message whole for each, and a hundred times
 * half a megabyte would cut this connection, which everybody shares.
 */
function createListeners(connection: Connection) {
  const environments = new Map<string, { listeners: Set<Listener>; stop: () => void }>();
  const listenTo = (scope: Scope) => {
    const listeners = new Set<Listener>();
    const stop = connection.listen(subjects.topicMessage(scope, '>'), ({ subject }) => {
      const parsed = parseSubject(subject);
      if (parsed?.kind !== 'topicMessage') return;
      for (const { pattern, listener } of listeners) {
        if (matchesEventPattern(pattern, parsed.topic)) listener();
      }
    });
    return { listeners, stop: () => stop() };
  };
  return {
    add: (scope: Scope, pattern: string, listener: () => void): (() => void) => {
      const { environmentId } = scope;
      const environment = environments.get(environmentId) ?? listenTo(scope);
      environments.set(environmentId, environment);
      const added = { pattern, listener };
      environment.listeners.add(added);
      return () => {
        if (!environment.listeners.delete(added) || environment.listeners.size > 0) return;
        environments.delete(environmentId);
        environment.stop();
      };
    },
  };
}

/** A key may hold what a header may not. */
function messageIdOf({ environmentId }: Scope, topic: string, key: string): string {
  return `${environmentId}.${createHash('sha256').update(`${topic}\n${key}`).digest('base64url')}`;
}

interface GetBody {
  message?: { subject: string; seq: number; data?: string; time: string };
  error?: { err_code?: number; description?: string };
}

function read({ subject, seq, data = '', time }: NonNullable<GetBody['message']>): StoredTopicMessage {
  const parsed = parseSubject(subject);
  return {
    sequence: seq,
    topic: parsed?.kind === 'topicMessage' ? parsed.topic : '',
    data: Buffer.from(data, 'base64').toString('utf8'),
    publishedAt: new Date(time).toISOString(),
  };
}

function unavailable(why: string): IronflowError {
  return new IronflowError('unavailable', 'stream_unavailable', `topics cannot be served now: ${why}`, {
    retryAfterSeconds: 1,
  });
}
