import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createScratch } from '@ironflow/testing';
import { needlesOf, searchFolders } from './secret-search.js';

let scratch: Awaited<ReturnType<typeof createScratch>>;
beforeAll(async () => {
  scratch = await createScratch('secret-search');
});
afterAll(() => scratch.remove());

const secret = 'whsec_"hidden"/+=\\ and quite long';

test.each<[string, (text: string) => string | Buffer]>([
  ['as it is', (text) => text],
  ['in hex', (text) => Buffer.from(text).toString('hex')],
  ['in JSON', (text) => JSON.stringify({ text })],
  ['in JSON within JSON', (text) => JSON.stringify({ of: JSON.stringify(text) })],
  ['in a URL', (text) => `https://a.example/?key=${encodeURIComponent(text)}`],
  ['in UTF-16', (text) => Buffer.from(text, 'utf16le')],
])('a secret is found %s, in the middle of a large file, and only where it is', async (how, written) => {
  const noise = randomBytes(5 * 1024 * 1024);
  const file = join(scratch.path, how.replaceAll(' ', '-'));
  await writeFile(file, Buffer.concat([noise, Buffer.from(written(secret)), noise]));
  const { findings, bytes } = await searchFolders([scratch.path], needlesOf('the secret', secret), {
    except: (other) => other !== file,
  });
  expect(findings.length).toBeGreaterThan(0);
  expect(bytes).toBeGreaterThan(2 * noise.length);
  expect(JSON.stringify(findings)).not.toContain('hidden');
  const { findings: others } = await searchFolders([scratch.path], needlesOf('another', `${secret}!`), {
    except: (other) => other !== file,
  });
  expect(others).toEqual([]);
});

test('a secret is found in base64 of whatever stands around it', () => {
  const needles = needlesOf('the secret', secret);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 20 }),
      fc.uint8Array({ maxLength: 20 }),
      fc.constantFrom('base64' as const, 'base64url' as const),
      (before, after, encoding) => {
        const text = Buffer.concat([before, Buffer.from(secret), after]).toString(encoding);
        expect(needles.some(({ bytes }) => text.includes(bytes.toString('latin1')))).toBe(true);
      },
    ),
  );
});
