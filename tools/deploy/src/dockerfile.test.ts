import { readdirSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { serviceNames, serviceNodeArguments } from '@ironflow/platform';
import { readDeployed } from './files-of-deploy.js';
import { readImageSettings } from './rendered/images.js';

const dockerfile = readDeployed('Dockerfile');

test('an image starts node as the platform does everywhere', () => {
  expect(readImageSettings(dockerfile).entrypoint).toEqual([
    ...['node', ...serviceNodeArguments, '/app/main.mjs'],
  ]);
});

test('an image runs as a user of a number that is not root, and has no health check of its own', () => {
  expect(/^USER (\d+):\d+$/m.exec(dockerfile)?.[1]).toBe('65532');
  expect(dockerfile).not.toMatch(/^HEALTHCHECK/m);
});

test('images are built of every service and of the CLI', () => {
  const listed = /programs=\((ingest[^)]*)\)/.exec(readDeployed('build-images.sh'))?.[1];
  expect(listed?.split(' ')).toEqual([...serviceNames, 'cli']);
  expect(/# SERVICE is one of (.*), or cli\./.exec(dockerfile)?.[1]?.split(', ')).toEqual(serviceNames);
});

test('what the Dockerfile calls is in its context', () => {
  const kept = readDeployed('../.dockerignore')
    .split('\n')
    .filter((line) => line.startsWith('!'));
  expect(kept).toContain('!deploy/*.mjs');
  const scripts = readdirSync(new URL('../../../deploy', import.meta.url)).filter((name) =>
    name.endsWith('.mjs'),
  );
  expect(scripts).toContain('assemble.mjs');
  expect(dockerfile).toContain('RUN node deploy/assemble.mjs "${SERVICE}" /image');
});
