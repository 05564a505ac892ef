/** The endpoint for node:http and Express. Typed by what it uses, so that it fits both and needs the types of neither. */
import type { EndpointRequest, Reply } from './reply.js';
import { callBytesMax, errorReply, tooLarge, UnreadableBodyError } from './reply.js';

export interface NodeRequest extends AsyncIterable<Uint8Array> {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  /** Express: the whole path, of which `url` is only the part below the mount. */
  readonly originalUrl?: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly readableEnded: boolean;
  /** The bytes, where a parser before us kept them. */
  readonly rawBody?: unknown;
  /** The bytes, where Express' `raw()` ran before us. */
  readonly body?: unknown;
}

export interface NodeResponse {
  readonly writableEnded: boolean;
  writeHead(status: number, headers: Record<string, string | number>): unknown;
  end(body: string): unknown;
  once(event: 'close', listener: () => void): unknown;
}

export async function answerNode(
  request: NodeRequest,
  response: NodeResponse,
  answer: (request: EndpointRequest) => Promise<Reply>,
): Promise<void> {
  const reply = await answer(adapt(request, response)).catch((thrown: unknown) =>
    thrown instanceof UnreadableBodyError
      ? errorReply(thrown.status, 'body_unreadable', thrown.message)
      : errorReply(500, 'internal', 'an internal error occurred'),
  );
  if (response.writableEnded) return;
  response.writeHead(reply.status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(reply.body),
  });
  response.end(reply.body);
}

function adapt(request: NodeRequest, response: NodeResponse): EndpointRequest {
  const header = (name: string): string | undefined => {
    const value = request.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  };
  const path = (request.originalUrl ?? request.url ?? '/').split('?')[0]!;
  return {
    method: request.method ?? 'GET',
    url: `http://${header('host') ?? 'localhost'}${path}`,
    header,
    body: () => readBody(request),
    onGone: (listener) =>
      response.once('close', () => {
        if (!response.writableEnded) listener();
      }),
  };
}

async function readBody(request: NodeRequest): Promise<Uint8Array> {
  if (request.rawBody instanceof Uint8Array) return request.rawBody;
  if (request.body instanceof Uint8Array) return request.body;
  if (request.readableEnded) {
    const message = 'a body parser ran first: mount serve() before it, or keep the bytes in request.rawBody';
    throw new UnreadableBodyError(500, message);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > callBytesMax) throw tooLarge();
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
