// Parts of documents that tests generate, between two comments that name them. Plain JavaScript: a reporter uses it too.
import { readFileSync, writeFileSync } from 'node:fs';

export const howToUpdate = 'npm run docs';

/** Writes the part if UPDATE_DOCS is set; else answers with an error if the document shows something else. */
export function settleGenerated(document, part, content) {
  const [begin, end] = [`<!-- generated: ${part} -->\n`, `\n<!-- end: ${part} -->`];
  const text = readFileSync(document, 'utf8');
  const from = text.indexOf(begin);
  const to = text.indexOf(end, from);
  if (from === -1 || to === -1) return new Error(`${document}: has no place for "${part}"`);
  const shown = text.slice(from + begin.length, to);
  if (shown === content) return undefined;
  if (process.env.UPDATE_DOCS === 'true') {
    writeFileSync(document, text.slice(0, from + begin.length) + content + text.slice(to));
    return undefined;
  }
  return new Error(
    `${document}: "${part}" is out of date; \`${howToUpdate}\` writes it. It should be\n\n${content}\n`,
  );
}
