/**
 * Which port a server gets: the one that was asked for, or none at all if somebody has it; else any free one.
 */
import { IronflowError } from '@ironflow/errors';
import { freePort, isPortFree } from './free-port.js';

export async function takePort(port: number | undefined, use: string): Promise<number> {
  if (port === undefined || port === 0) return freePort();
  if (await isPortFree(port)) return port;
  const message = `port ${port}, wanted for ${use}, is taken by another program; stop it or choose another port`;
  throw new IronflowError('unavailable', 'port_taken', message);
}
