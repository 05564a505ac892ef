/** What the database cannot hold is the fault of whoever sent it. */
import { isRefusedData } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { HttpApp } from './http.js';

/** For a scope of routes: anything else goes on to the server's own handler. */
export function refuseUnstorable(routed: HttpApp): void {
  routed.setErrorHandler((error) => {
    if (!isRefusedData(error)) throw error;
    const rule = 'contains what the database cannot hold, such as the character U+0000';
    throw new IronflowError('invalid', 'invalid_request', rule, { cause: error });
  });
}
