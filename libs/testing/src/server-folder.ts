/**
 * The folder a server keeps its data in: it exists and is ours to write, or the error says which folder and why.
 */
import { IronflowError, messageOf } from '@ironflow/errors';
import { access, constants, mkdir } from 'node:fs/promises';

export async function ensureServerFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const message = `the data folder ${path} cannot be written: ${messageOf(error)}`;
    throw new IronflowError('unavailable', 'data_folder_unwritable', message, { cause: error });
  }
}
