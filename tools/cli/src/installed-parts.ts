/**
 * Packages that few commands need and that bring much with them: loaded late, by who needs them. In a clone all are there; an image for
 * operators has what speaks with an installation, and not the local platform; the CLI of the registry has none.
 */
import { messageOf } from '@ironflow/errors';

export const loadDatabase = () => load(import('@ironflow/database'));
export const loadInstallation = () => load(import('@ironflow/installation'));
export const loadNatsAccounts = () => load(import('@ironflow/nats-accounts'));
export const loadPlatform = () => load(import('@ironflow/platform'));

function load<Part>(loading: Promise<Part>): Promise<Part> {
  return loading.catch((error: unknown) => {
    const isMissing =
      (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' &&
      /package '@ironflow\//.test(messageOf(error));
    if (!isMissing) throw error;
    throw new Error(
      'this command needs the platform itself, which is not installed with the CLI: run it in a clone of Ironflow ' +
        '(`npm start` there), and give your app the IRONFLOW_URL and IRONFLOW_API_KEY that it prints',
      { cause: error },
    );
  });
}
