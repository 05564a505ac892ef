/**
 * Headers as the bytes that they are. Those of an outgoing message are written as text at once: the client's own header map
 * canonicalizes and searches for every field it is given, which costs more than the rest of a publish.
 */
import type { Msg, MsgHdrs } from '@nats-io/transport-node';
import { IronflowError } from '@ironflow/errors';

export function withHeaders({ headers }: { headers?: Record<string, string> }): { headers?: MsgHdrs } {
  return headers === undefined ? {} : { headers: encodeHeaders(headers) };
}

function encodeHeaders(fields: Readonly<Record<string, string>>): MsgHdrs {
  let text = 'NATS/1.0\r\n';
  for (const name in fields) {
    const value = fields[name]!;
    // A line break in a value would start a header of its own, an expectation or a message id.
    if (value.includes('\n') || value.includes('\r')) {
      throw new IronflowError('invalid', 'header_invalid', `the header ${name} contains a line break`);
    }
    text += `${name}: ${value}\r\n`;
  }
  const block = Buffer.from(`${text}\r\n`);
  // All that the client asks of the headers it sends is their encoding.
  return { encode: () => block } as unknown as MsgHdrs;
}

const noBlock = new Uint8Array();

/** The block as it was published: the client reads names and values from it and keeps its bytes to itself. */
export function headerBlockOf(message: Msg): Uint8Array {
  const { _rdata: bytes, _msg: parsed } = message as unknown as { _rdata: Uint8Array; _msg: { hdr: number } };
  return parsed.hdr > 0 ? bytes.subarray(0, parsed.hdr) : noBlock;
}
