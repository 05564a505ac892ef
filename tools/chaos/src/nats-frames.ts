/** NATS' client protocol cut into its messages, as far as a proxy has to know them. Pure but for the bytes it keeps. */

export interface Frame {
  /** In capitals: `PUB`, `HMSG`, `INFO`… */
  verb: string;
  /** The rest of its first line. */
  parameters: string[];
  /** With its headers; empty for what has none. */
  payload: Buffer;
  /** All of it, as it came. */
  bytes: Buffer;
}

const lineEnd = Buffer.from('\r\n');
const withPayload = new Set(['PUB', 'HPUB', 'MSG', 'HMSG']);

/** Gives the frames that each chunk completes, in their order. */
export function createFrameReader(): (chunk: Buffer) => Frame[] {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const frames: Frame[] = [];
    for (;;) {
      const frame = readFrame(rest);
      if (frame === undefined) return frames;
      frames.push(frame);
      rest = rest.subarray(frame.bytes.length);
    }
  };
}

function readFrame(buffer: Buffer): Frame | undefined {
  const end = buffer.indexOf(lineEnd);
  if (end < 0) return undefined;
  const line = buffer.toString('utf8', 0, end);
  const [word = '', ...parameters] = line.split(/[ \t]+/);
  const verb = word.toUpperCase();
  const bodyStart = end + lineEnd.length;
  if (!withPayload.has(verb)) {
    return { verb, parameters, payload: Buffer.alloc(0), bytes: buffer.subarray(0, bodyStart) };
  }
  const size = Number(parameters.at(-1));
  const frameEnd = bodyStart + size + lineEnd.length;
  if (buffer.length < frameEnd) return undefined;
  return {
    verb,
    parameters,
    payload: buffer.subarray(bodyStart, bodyStart + size),
    bytes: buffer.subarray(0, frameEnd),
  };
}

/** An answer that a publish was stored; no answer of a request, and no delivery. */
export function isPublishAck({ verb, payload }: Frame): boolean {
  return verb === 'MSG' && payload.subarray(0, 11).toString('latin1') === '{"stream":"';
}

/** What a consumer says of a delivery: ack, nak, or that it still works on it. */
export function isDeliveryAck({ verb, parameters }: Frame): boolean {
  return (verb === 'PUB' || verb === 'HPUB') && parameters[0]?.startsWith('$JS.ACK.') === true;
}

/** A publish that may be repeated: it says by its id that it is the same. */
export function isIdentifiedPublish({ verb, payload }: Frame): boolean {
  return verb === 'HPUB' && payload.includes('Nats-Msg-Id:');
}

/** Without the addresses of other servers: clients go on to come through the proxy. */
export function withoutOtherAddresses(frame: Frame): Buffer {
  if (frame.verb !== 'INFO') return frame.bytes;
  const text = frame.bytes.toString('utf8').slice('INFO '.length);
  const info = JSON.parse(text) as Record<string, unknown>;
  delete info['connect_urls'];
  return Buffer.from(`INFO ${JSON.stringify(info)}\r\n`);
}
