#!/usr/bin/env node
// A file that is there before anything is built, so that npm can link and mark it executable.
import { existsSync } from 'node:fs';

const program = new URL('../dist/main.js', import.meta.url);
if (existsSync(program)) await import(program.href);
else {
  process.stderr.write('ironflow: the workspace is not built yet: run `npm run build` in the clone\n');
  process.exitCode = 1;
}
