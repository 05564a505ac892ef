/** NATS servers that are somebody else's (NATS_URL): what is wrong with them is said by the variable's name. */
import { IronflowError, messageOf } from '@ironflow/errors';
import { checkNatsVersion, readNatsGreeting } from '@ironflow/testing';

/** One of the servers must answer, be new enough and have JetStream. Credentials are the services' affair. */
export async function checkNatsUrl(urls: string): Promise<void> {
  const problems: string[] = [];
  for (const text of urls.split(',').map((one) => one.trim())) {
    const url = /^[a-z]+:\/\//.test(text) ? text : `nats://${text}`;
    if (!/^(nats|tls|wss?):\/\//.test(url) || !URL.canParse(url)) {
      const message = 'NATS_URL: must be nats:// URLs separated by commas';
      throw new IronflowError('invalid', 'config_invalid', message);
    }
    // A WebSocket door greets nobody in plain text.
    if (url.startsWith('ws')) return;
    const { hostname, port } = new URL(url);
    const where = `${hostname}:${port === '' ? 4222 : port}`;
    try {
      const greeting = await readNatsGreeting(port === '' ? 4222 : Number(port), hostname);
      checkNatsVersion(greeting.version);
      if (greeting.jetstream) return;
      problems.push(`${where} has no JetStream: start nats-server with -js`);
    } catch (error) {
      problems.push(
        error instanceof IronflowError ? `${where}: ${error.message}` : unreachable(where, error),
      );
    }
  }
  throw new IronflowError('unavailable', 'nats_unavailable', `NATS_URL, ${problems.join('; ')}`);
}

function unreachable(where: string, error: unknown): string {
  return `${where} cannot be reached (${codeOf(error) ?? messageOf(error)})`;
}

/** Both addresses of a name may have failed; the first one's code tells as much. */
function codeOf(error: unknown): string | undefined {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const code = (first as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}
