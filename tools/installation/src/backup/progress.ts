/** How far a command is, told a few times a second at most. */

export interface Progress {
  work: 'saving' | 'checking' | 'restoring';
  stream: string;
  /** The how many-th stream of how many. */
  place: number;
  of: number;
  messages: number;
  /** As far as it is known: more may come while a stream is saved. */
  messagesOf: number;
}

export type OnProgress = (progress: Progress) => void;

const intervalMs = 250;

export interface ProgressWatch {
  begin(stream: { name: string; messages: number }): void;
  onMessage: () => void;
  counting<Message>(messages: AsyncIterable<Message>): AsyncGenerator<Message>;
}

export function watchProgress(
  work: Progress['work'],
  of: number,
  onProgress: OnProgress = () => undefined,
): ProgressWatch {
  let current: Progress = { work, stream: '', place: 0, of, messages: 0, messagesOf: 0 };
  let toldAtMs = -Infinity;
  const tell = (): void => {
    toldAtMs = performance.now();
    onProgress(current);
  };
  const onMessage = (): void => {
    current.messages += 1;
    // Asking for the time costs more than the rest.
    if (current.messages % 100 === 0 && performance.now() - toldAtMs > intervalMs) tell();
  };
  return {
    begin: ({ name, messages }) => {
      current = { ...current, stream: name, place: current.place + 1, messages: 0, messagesOf: messages };
      tell();
    },
    onMessage,
    counting: async function* (messages) {
      for await (const message of messages) {
        onMessage();
        yield message;
      }
    },
  };
}
