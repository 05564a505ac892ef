/** Certificates for tests of what is encrypted, of this machine's addresses and of names that stand for them. Each is its own authority. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generate } from 'selfsigned';

export interface Certificate {
  /** In PEM; whoever trusts it as an authority trusts what shows it. */
  certFile: string;
  keyFile: string;
  cert: string;
}

/** Into a new folder below the system's for such, which is the caller's to remove. */
export async function createCertificate(
  names: readonly string[] = [],
): Promise<Certificate & { folder: string }> {
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'localhost' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      {
        name: 'subjectAltName',
        altNames: [
          ...['localhost', ...names].map((value) => ({ type: 2, value }) as const),
          { type: 7, ip: '127.0.0.1' },
        ],
      },
    ],
  });
  const folder = await mkdtemp(join(tmpdir(), 'ironflow-certificate-'));
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  await writeFile(certFile, cert);
  // PostgreSQL takes none that others may read.
  await writeFile(keyFile, key, { mode: 0o600 });
  return { certFile, keyFile, cert, folder };
}
