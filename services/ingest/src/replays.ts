/**
 * Dead letters tried again. A failed run is repeated; a message of INGEST that could not be read goes there once more, since
 * this version may read it. Of other messages nothing would come: that is said instead.
 *
 * 1. A letter is replayed once, however often that is asked for: the event that repeats a run has an id that derives from
 *    the letter, and a message is published before it is marked, under one message id.
 */
import type { DeadLetterToReplay, IngestStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { Publisher } from '@ironflow/jetstream';
import { deriveReplayEventId, parseSubject } from '@ironflow/schema';
import type { ReplayAnswer, Scope } from '@ironflow/schema';
import type { Rerun } from './reruns.js';

export interface ReplaysOptions {
  store: Pick<IngestStore, 'deadLetterToReplay' | 'markReplayed'>;
  rerun: Rerun;
  publisher: Publisher;
}

export interface ReplayRequest {
  scope: Scope;
  letterId: string;
  /** Of the caller. */
  traceparent?: string | undefined;
}

export type Replay = (request: ReplayRequest) => Promise<ReplayAnswer>;

export function createReplay(options: ReplaysOptions): Replay {
  const { store, rerun } = options;

  async function mark({ scope, letterId }: ReplayRequest): Promise<number> {
    const replayedAtMs = await store.markReplayed(scope.environmentId, letterId);
    if (replayedAtMs === undefined) throw letterNotFound();
    return replayedAtMs;
  }

  async function replayRun(request: ReplayRequest, runId: string): Promise<ReplayAnswer> {
    const { scope, letterId: id, traceparent } = request;
    const { environmentId } = scope;
    let replayedAtMs = 0;
    // Marked once it is certain that the run can be repeated.
    const chooseId = async (): Promise<string> => {
      replayedAtMs = await mark(request);
      return deriveReplayEventId({ environmentId, letterId: id, replayedAtMs });
    };
    const repeated = await rerun({ scope, runId, traceparent, chooseId });
    return { id, replayedAt: new Date(replayedAtMs).toISOString(), ...repeated };
  }

  async function replayMessage(request: ReplayRequest, letter: DeadLetterToReplay): Promise<ReplayAnswer> {
    const { scope, letterId: id } = request;
    if (letter.replayedAtMs === undefined) {
      const { subject, payload } = requireReplayable(letter, scope);
      const messageId = `${scope.environmentId}.replay.${id}`;
      const { kind } = await options.publisher.publish({ subject, data: payload, messageId });
      if (kind !== 'stored') throw streamUnavailable();
    }
    return { id, replayedAt: new Date(await mark(request)).toISOString() };
  }

  return async (request) => {
    const letter = await store.deadLetterToReplay(request.scope.environmentId, request.letterId);
    if (letter === undefined) throw letterNotFound();
    return letter.runId === undefined ? replayMessage(request, letter) : replayRun(request, letter.runId);
  };
}

function requireReplayable({ message }: DeadLetterToReplay, scope: Scope) {
  const place = message && parseSubject(message.subject);
  if (place?.kind === 'journal') {
    throw notReplayable(
      'the record of a run that has gone on or ended without it: run the function again instead',
    );
  }
  if (message === undefined || place?.kind !== 'ingest') {
    throw notReplayable('the message of an event that is stored, and that is routed from there');
  }
  if (place.project !== scope.project || place.env !== scope.env) {
    throw notReplayable('a message of another place');
  }
  return message;
}

function notReplayable(what: string): IronflowError {
  return new IronflowError(
    'conflict',
    'dead_letter_not_replayable',
    `replaying it would not help: it is ${what}`,
  );
}

function letterNotFound(): IronflowError {
  const message = 'there is no dead letter of that id in this environment';
  return new IronflowError('not_found', 'dead_letter_not_found', message);
}

function streamUnavailable(): IronflowError {
  const message = 'the stream that the message goes to cannot take it now';
  return new IronflowError('unavailable', 'stream_unavailable', message, { retryAfterSeconds: 1 });
}
