/** The program: `bin/ironflow.js` and the published bundle start here. */
import { runCli } from './program.js';
import { processTerminal } from './terminal.js';

// `ironflow runs list | head -1`: who reads has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

process.exitCode = await runCli(process.argv.slice(2), processTerminal);
