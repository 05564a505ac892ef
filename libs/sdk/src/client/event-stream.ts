/** Server-sent events (WHATWG HTML, section 9.2) out of a response's body. A comment is an event without a name. */

export interface ServerSentEvent {
  /** Empty for a comment. */
  name: string;
  data: string;
}

/** A line longer than this is no event of ours. */
const lineLengthMax = 16 * 1024 * 1024;

export async function* readEventStream(
  body: AsyncIterable<Uint8Array> | null,
): AsyncGenerator<ServerSentEvent, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  let name = '';
  let data: string[] = [];
  for await (const chunk of body ?? []) {
    rest += decoder.decode(chunk, { stream: true });
    if (rest.length > lineLengthMax) throw new Error('a line of the event stream is too long');
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop()!;
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield { name: name === '' ? 'message' : name, data: data.join('\n') };
        name = '';
        data = [];
      } else if (line.startsWith(':')) {
        yield { name: '', data: '' };
      } else if (line.startsWith('event:')) {
        name = line.slice(6).trimStart();
      } else if (line.startsWith('data:')) {
        data.push(line.slice(5).replace(/^ /, ''));
      }
    }
  }
}
