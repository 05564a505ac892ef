/** The chart's README, written from its values. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { chartFolder } from './places.js';
import { sectionsOf, tableOf } from './readme.js';

/** `npm run chart:docs` writes it. */
test('every value of the chart is in its README with what it is for', () => {
  const sections = sectionsOf(readFileSync(join(chartFolder, 'values.yaml'), 'utf8'));
  const file = join(chartFolder, 'README.md');
  const shown = readFileSync(file, 'utf8');
  const [head, tail] = shown.split(/(?<=<!-- generated: values -->\n)[^]*(?=\n<!-- end: values -->)/);
  const wanted = `${head}${sections.map(tableOf).join('\n\n')}${tail}`;
  if (process.env.UPDATE_DOCS === 'true') writeFileSync(file, wanted);
  else expect(shown).toBe(wanted);
});

test('values below values are told by their whole names, with the comment of each', () => {
  const [general, nats] = sectionsOf(`
# The head.

# A name.
name: x
# A whole.
nats:
  # How many
  # of it.
  replicas: 3
  auth:
    # A way | or another.
    mode: user
  # Of the pod.
  resources: {limits: {cpu: 1}}
`);
  expect(general).toEqual({
    name: '',
    text: '',
    rows: [{ path: 'name', value: '"x"', text: 'A name.' }],
  });
  expect(nats).toEqual({
    name: 'nats',
    text: 'A whole.',
    rows: [
      { path: 'nats.replicas', value: '3', text: 'How many of it.' },
      { path: 'nats.auth.mode', value: '"user"', text: 'A way \\| or another.' },
      { path: 'nats.resources', value: '{"limits":{"cpu":1}}', text: 'Of the pod.' },
    ],
  });
});

test('a value without a comment is refused', () => {
  expect(() => sectionsOf('name: x\n')).toThrow('name has no comment');
});
