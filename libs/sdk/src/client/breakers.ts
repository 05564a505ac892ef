/** `client.breakers`: circuit breakers as an operator sees and holds them. */
import type { Breaker, BreakersQuery } from '@ironflow/schema';
import { parseDuration } from '../duration.js';
import type { Duration } from '../duration.js';
import type { Http } from './http.js';

export interface BreakersList {
  breakers: Breaker[];
  /** False: there are more than a list shows; ask for a state or a function. */
  isComplete: boolean;
}

export interface Breakers {
  /** Those that are not closed, or have counted a failed call lately. */
  list(query?: BreakersQuery): Promise<BreakersList>;
  /** By default at the endpoint at which the function is called now: the URL of its app, or `worker`. */
  get(functionId: string, options?: { endpoint?: string }): Promise<Breaker>;
  /**
   * Forces it open: the function is not called, not even to see how it is, for so long or until it is reset. Its runs wait
   * and use up no attempt.
   */
  open(functionId: string, options?: { endpoint?: string; for?: Duration }): Promise<Breaker>;
  /** Closes it, whoever opened it. */
  reset(functionId: string, options?: { endpoint?: string }): Promise<Breaker>;
}

export function createBreakers(http: Http): Breakers {
  const pathOf = (functionId: string): string => `/v1/breakers/${encodeURIComponent(functionId)}`;
  return {
    list: (query = {}) => http.json({ method: 'GET', path: '/v1/breakers', query: { ...query } }),
    get: (functionId, query = {}) => http.json({ method: 'GET', path: pathOf(functionId), query }),
    open: async (functionId, { endpoint, for: duration } = {}) => {
      const forMs = duration === undefined ? undefined : parseDuration(duration);
      const body = JSON.stringify({ endpoint, forMs });
      return http.json({ method: 'POST', path: `${pathOf(functionId)}/open`, body });
    },
    reset: (functionId, { endpoint } = {}) =>
      http.json({
        method: 'POST',
        path: `${pathOf(functionId)}/reset`,
        body: JSON.stringify({ endpoint }),
      }),
  };
}
