/** `npm start`: the platform with the example, until Ctrl-C. */
import { runExample } from '@ironflow/example-github-triage';
import { runPlatform } from './run-platform.js';

const say = (line: string): void => console.log(line);

await runPlatform({
  // An empty variable counts as absent, as everywhere: as a folder it would be the repository itself.
  dataFolder: process.env['IRONFLOW_DATA'] || '.ironflow',
  port: Number(process.env['IRONFLOW_PORT'] || 7400),
  say,
  beside: async (platform, lifecycle) => {
    const { url: ironflowUrl, apiKey, signingKey, dataFolder } = platform;
    await runExample({ ironflowUrl, apiKey, signingKey, dataFolder, lifecycle, say });
  },
});
