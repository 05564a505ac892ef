/** The endpoint for node:http and Express. Typed by what it uses, so that it fits both and needs the types of neither. */
import type { EndpointRequest, Reply } from './reply.js';
import { collectBytes, errorReply, UnreadableBodyError } from './reply.js';

export interface NodeRequest extends AsyncIterable<Uint8Array> {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  /** Express: the whole path, of which `url` is only the part below the mount. */
  readonly originalUrl?: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly readableEnded: boolean;
  /** Of Node's streams: chunks without an end of the stream when one stops early. */
  iterator?(options: { destroyOnReturn: boolean }): AsyncIterable<Uint8Array>;
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
    ...reply.headers,
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
  // The answer goes over the same connection: a body that is given up half way must not take it along.
  const chunks = request.iterator?.({ destroyOnReturn: false }) ?? request;
  const length = request.headers['content-length'];
  return collectBytes(chunks, typeof length === 'string' ? length : undefined);
}
