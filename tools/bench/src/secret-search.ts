/**
 * Files searched for what must not be in them: each secret as it is, in base64 and base64url at whatever offset of three bytes it
 * was encoded, in hex, as JSON and as URLs escape it, and in UTF-16. Compressed pages of Postgres are not opened.
 */
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';

export interface Needle {
  /** What is told of it when it is found: never the secret itself. */
  secret: string;
  encoding: string;
  bytes: Buffer;
}

export interface Finding {
  secret: string;
  encoding: string;
  file: string;
}

/** The ways in which a secret could be written down. */
export function needlesOf(name: string, secret: string): Needle[] {
  const bytes = Buffer.from(secret, 'utf8');
  const forms: [string, Buffer][] = [
    ['as it is', bytes],
    ['hex', Buffer.from(bytes.toString('hex'))],
    ['JSON', Buffer.from(JSON.stringify(secret).slice(1, -1))],
    [
      'JSON within JSON',
      Buffer.from(
        JSON.stringify(JSON.stringify(secret))
          .slice(1, -1)
          .replace(/^\\"|\\"$/g, ''),
      ),
    ],
    ['URL', Buffer.from(encodeURIComponent(secret))],
    ['UTF-16', Buffer.from(secret, 'utf16le')],
  ];
  for (const encoding of ['base64', 'base64url'] as const) {
    for (let offset = 0; offset < 3; offset += 1) {
      forms.push([`${encoding}, offset ${offset}`, Buffer.from(encodedAt(bytes, offset, encoding))]);
    }
  }
  const seen = new Set<string>();
  return forms.flatMap(([encoding, form]) => {
    const key = form.toString('latin1');
    if (form.length === 0 || seen.has(key)) return [];
    seen.add(key);
    return [{ secret: name, encoding, bytes: form }];
  });
}

/** What stays the same of an encoding, whatever stands before and behind: without the digits that share bits with a neighbour. */
function encodedAt(bytes: Buffer, offset: number, encoding: 'base64' | 'base64url'): string {
  const padded = Buffer.concat([Buffer.alloc(offset), bytes]);
  const digits = padded.toString(encoding).replace(/=+$/, '');
  const first = Math.ceil((offset * 4) / 3);
  const last = padded.length % 3 === 0 ? digits.length : digits.length - 1;
  return digits.slice(first, last);
}

/** Everything below the folders, but what is named. Reads each file once, in pieces that overlap by the longest needle. */
export async function searchFolders(
  folders: readonly string[],
  needles: readonly Needle[],
  { except = () => false }: { except?: (file: string) => boolean } = {},
): Promise<{ findings: Finding[]; files: number; bytes: number }> {
  const findings: Finding[] = [];
  let files = 0;
  let bytes = 0;
  for (const folder of folders) {
    for (const file of await filesBelow(folder)) {
      if (except(file)) continue;
      const searched = await searchFile(file, needles);
      files += 1;
      bytes += searched.bytes;
      const name = relative(folder, file);
      findings.push(...searched.found.map(({ secret, encoding }) => ({ secret, encoding, file: name })));
    }
  }
  return { findings, files, bytes };
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function searchFile(
  file: string,
  needles: readonly Needle[],
): Promise<{ found: Needle[]; bytes: number }> {
  const longest = Math.max(...needles.map((needle) => needle.bytes.length));
  const found = new Set<Needle>();
  let before: Buffer = Buffer.alloc(0);
  let bytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 4 * 1024 * 1024 })) {
    const piece = Buffer.concat([before, chunk as Buffer]);
    bytes += (chunk as Buffer).length;
    for (const needle of needles) if (!found.has(needle) && piece.includes(needle.bytes)) found.add(needle);
    before = piece.subarray(Math.max(0, piece.length - longest + 1));
  }
  return { found: [...found], bytes };
}
