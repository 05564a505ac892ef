/** What the local platform keeps between two starts: `.ironflow/` with its secrets, its servers' data and its credentials. */
import { randomBytes } from 'node:crypto';
import { access, constants, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { IronflowError, messageOf } from '@ironflow/errors';

const credentialsSchema = z.object({
  apiKey: z.string(),
  signingKey: z.string(),
  /** For `ironflow tenants`; absent in what an earlier version has written. */
  operatorKey: z.string().optional(),
  /** Where the platform was at its last start. */
  url: z.string().optional(),
});
export type Credentials = z.infer<typeof credentialsSchema>;

const secretsSchema = z.object({
  masterKey: z.string(),
  servicePassword: z.string(),
  tenantPassword: z.string(),
});
export type LocalSecrets = z.infer<typeof secretsSchema>;

export interface DataFolder {
  path: string;
  postgresPath: string;
  natsPath: string;
  secrets: LocalSecrets;
  /** Of the environment that the platform makes for its user; absent before the first start. */
  readCredentials(): Promise<Credentials | undefined>;
  writeCredentials(credentials: Credentials): Promise<void>;
}

export async function openDataFolder(path: string): Promise<DataFolder> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await access(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new IronflowError(
      'invalid',
      'data_folder_unwritable',
      `the data folder ${path} cannot be written (${messageOf(error)}): choose another with IRONFLOW_DATA`,
    );
  }
  const secretsFile = join(path, 'secrets.json');
  const credentialsFile = join(path, 'credentials.json');
  const secrets = (await readJson(secretsFile, secretsSchema)) ?? (await createSecrets(secretsFile));
  return {
    path,
    postgresPath: join(path, 'postgres'),
    natsPath: join(path, 'nats'),
    secrets,
    readCredentials: () => readJson(credentialsFile, credentialsSchema),
    writeCredentials: (credentials) => writePrivate(credentialsFile, credentials),
  };
}

async function createSecrets(file: string): Promise<LocalSecrets> {
  const secrets = {
    masterKey: randomBytes(32).toString('base64'),
    servicePassword: randomBytes(24).toString('base64url'),
    tenantPassword: randomBytes(24).toString('base64url'),
  };
  await writePrivate(file, secrets);
  return secrets;
}

/** Undefined only when there is none: a file of secrets that cannot be read must not be replaced by new ones. */
async function readJson<T>(file: string, schema: z.ZodType<T>): Promise<T | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    const why = error instanceof z.ZodError ? 'something is missing in it' : messageOf(error);
    const message = `${file} cannot be used: ${why}. Restore it, or begin anew with another IRONFLOW_DATA`;
    throw new IronflowError('invalid', 'data_folder_broken', message, { cause: error });
  }
}

/** Whole or not at all: a process that is killed half-way must not leave half a file. */
async function writePrivate(file: string, body: object): Promise<void> {
  const unfinished = `${file}.${process.pid}`;
  await writeFile(unfinished, `${JSON.stringify(body, null, 2)}\n`, { mode: 0o600 });
  await rename(unfinished, file);
}
