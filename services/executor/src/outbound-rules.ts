/**
 * Which addresses push apps may be called at. The URL is a tenant's word, and the executor stands within the platform's network: only what
 * everybody can reach is called, over TLS, unless the operator allows other addresses. It is asked of every address that a name has
 * when it is connected to, and those are the ones connected to: a name that means something else later changes nothing. After the OWASP cheat
 * sheet on server-side request forgery.
 */
import { lookup } from 'node:dns';
import type { LookupAddress, LookupAllOptions } from 'node:dns';
import { isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/** A range such as `10.0.0.0/8`, or one address. */
export type AddressRange = [ipaddr.IPv4 | ipaddr.IPv6, number];

export interface OutboundRules {
  allowed: readonly AddressRange[];
  /** It is called by https. */
  isSecure: boolean;
}

export class RefusedAddress extends Error {}

type Resolve = (
  hostname: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, found: LookupAddress[]) => void,
) => void;

/** `undefined` for what is no range. */
export function parseAddressRange(text: string): AddressRange | undefined {
  if (ipaddr.isValidCIDR(text)) return ipaddr.parseCIDR(text);
  if (!ipaddr.isValid(text)) return undefined;
  const address = ipaddr.parse(text);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}

/** Why an address may not be called, if it may not. */
export function refusalOf(address: string, { allowed, isSecure }: OutboundRules): string | undefined {
  if (!ipaddr.isValid(address)) return 'it is no address';
  // An IPv4 address within an IPv6 one is what is reached.
  const reached = ipaddr.process(address);
  if (allowed.some(([range, bits]) => range.kind() === reached.kind() && reached.match(range, bits))) {
    return undefined;
  }
  if (reached.range() !== 'unicast') return 'its address is not a public one';
  return isSecure ? undefined : 'over public networks it must be called by https';
}

/** To be given to a connection in place of the system's own (`resolve`): it answers only with addresses that may be called. */
export function createLookup(rules: OutboundRules, resolve: Resolve = lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, '');
      const refusal = found.map(({ address }) => refusalOf(address, rules)).find((one) => one !== undefined);
      if (refusal !== undefined) return callback(new RefusedAddress(refusal), '');
      const [first] = found;
      if (options.all === true || first === undefined) return callback(null, found);
      callback(null, first.address, first.family);
    });
  };
}

/** Of a host that is an address already, which nobody looks up. */
export function refusalOfHost(host: string, rules: OutboundRules): RefusedAddress | undefined {
  const address = host.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) === 0) return undefined;
  const refusal = refusalOf(address, rules);
  return refusal === undefined ? undefined : new RefusedAddress(refusal);
}
