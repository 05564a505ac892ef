/** Notices of what Postgres accepted: published at most once into PUBSUB, heard as plain messages. */
import {
  eventRoutedNoticeSchema,
  headerNames,
  runNoticeSchema,
  schemaVersion,
  subjects,
} from '@ironflow/schema';
import type { EventRoutedNotice, RunNotice, RunNoticeKind } from '@ironflow/schema';
import type { Connection } from './connection.js';

export interface Notices {
  publishRun(notice: RunNotice, what: RunNoticeKind): void;
  publishEventRouted(notice: EventRoutedNotice): void;
  /** With a queue, one member of it hears each notice; without, everybody hears all. */
  onRun(filter: string, listener: (notice: RunNotice) => void, queue?: string): () => void;
  onEventRouted(filter: string, listener: (notice: EventRoutedNotice) => void): () => void;
}

const headers = { [headerNames.schemaVersion]: schemaVersion };

export function createNotices(connection: Connection): Notices {
  const listen = <T>(
    filter: string,
    parse: (body: unknown) => { success: boolean; data?: T },
    listener: (notice: T) => void,
    queue?: string,
  ): (() => void) => {
    const hear = (message: { json(): unknown }): void => {
      const parsed = parse(message.json());
      if (parsed.success && parsed.data !== undefined) listener(parsed.data);
    };
    return connection.listen(filter, hear, queue);
  };
  return {
    publishRun: (notice, what) => {
      const subject = subjects.runNotice(notice.scope, notice.runId, what);
      connection.publish({ subject, data: JSON.stringify(notice), headers });
    },
    publishEventRouted: (notice) => {
      const subject = subjects.eventRoutedNotice(notice.scope, notice.eventId);
      connection.publish({ subject, data: JSON.stringify(notice), headers });
    },
    onRun: (filter, listener, queue) =>
      listen(filter, (body) => runNoticeSchema.safeParse(body), listener, queue),
    onEventRouted: (filter, listener) =>
      listen(filter, (body) => eventRoutedNoticeSchema.safeParse(body), listener),
  };
}
