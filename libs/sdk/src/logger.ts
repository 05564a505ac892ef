/** The `logger` of a handler and the SDK's own lines: structured, to stderr unless the app brings a sink of its own. */

import type { LogLevel } from '@ironflow/schema';
import { redact, redactText } from './redaction.js';

export type { LogLevel };

export interface LogLine {
  level: LogLevel;
  message: string;
  fields: Readonly<Record<string, unknown>>;
}

/** Where lines go. Must not throw. */
export type Log = (line: LogLine) => void;

type Write = (message: string, fields?: Readonly<Record<string, unknown>>) => void;
export type Logger = Readonly<Record<LogLevel, Write>>;

/** A logger whose lines all carry `fields`; it says nothing while `silent()` is true. */
export function createLogger(options: {
  log: Log;
  /** Is given each line as well, without `fields`. Must not throw. */
  keep?: Log | undefined;
  fields?: Readonly<Record<string, unknown>>;
  silent?: () => boolean;
}): Logger {
  const at =
    (level: LogLevel): Write =>
    (message, fields) => {
      if (options.silent?.() === true) return;
      const own = redact({ ...fields }) as Readonly<Record<string, unknown>>;
      const line = { level, message: redactText(message), fields: own };
      options.keep?.(line);
      options.log({ ...line, fields: { ...own, ...options.fields } });
    };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

export const logToStderr: Log = ({ level, message, fields }) => {
  process.stderr.write(`${lineOf({ time: new Date().toISOString(), level, message, ...fields })}\n`);
};

function lineOf(line: Record<string, unknown>): string {
  try {
    return JSON.stringify(line);
  } catch {
    // A field that is no JSON must not cost the line, nor the function that logged it.
    return JSON.stringify({ time: line.time, level: line.level, message: line.message, fields: 'not JSON' });
  }
}
