/** What a backup asks of the place where its files are: storage-folder.ts and storage-s3.ts are such places. */
import { IronflowError } from '@ironflow/errors';

export interface BackupStorage {
  /** For people; what the other commands are given. */
  readonly place: string;
  /** Whole or not at all. A folder rejects with `backup_exists` rather than replacing a file. */
  write(name: string, content: AsyncIterable<Uint8Array>): Promise<void>;
  /** Rejects with `backup_file_missing`. */
  read(name: string): Promise<AsyncIterable<Uint8Array>>;
}

export function fileMissing(place: string, name: string): IronflowError {
  return new IronflowError('not_found', 'backup_file_missing', `${name} is not in ${place}`);
}

/** The same bytes in larger chunks: each has at least so many, but for the last. */
export async function* inChunks(
  content: AsyncIterable<Uint8Array>,
  bytesMin: number,
): AsyncGenerator<Uint8Array, undefined> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of content) {
    held.push(part);
    bytes += part.length;
    if (bytes < bytesMin) continue;
    yield Buffer.concat(held);
    held = [];
    bytes = 0;
  }
  if (bytes > 0) yield Buffer.concat(held);
}
