/** What is said of a port that the platform should be at and that another program has. */
import { IronflowError } from '@ironflow/errors';

export function portTaken(port: number, cause?: unknown): IronflowError {
  const message = `port ${port} is taken: is a platform already running? Choose another with IRONFLOW_PORT or --port`;
  return new IronflowError('conflict', 'port_taken', message, { cause });
}
