import { isIP } from 'node:net';
import { SandboxFailure } from '../contract/failures.ts';
import { isLoopback } from '../contract/loopback.ts';

/** Where the agents of HopX's own sandboxes live: `https://7777-<id>.<region>.vms.hopx.dev`. */
const HOPX_AGENT_DOMAIN = 'vms.hopx.dev';

/**
 * The URL of a sandbox's agent as the API named it, if a token may go there: https on the control plane's own
 * domain or HopX's, or loopback when the control plane is loopback. Throws `UNTRUSTED_HOST` otherwise.
 */
export function trustedHost(named: string, controlPlane: URL): URL {
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(named) ? named : `https://${named}`;
  if (!URL.canParse(address)) throw refused(named);
  const url = new URL(address);
  if (url.username !== '' || url.password !== '') throw refused(named);
  if (isLoopback(controlPlane.hostname)) {
    if (isLoopback(url.hostname) && (url.protocol === 'http:' || url.protocol === 'https:')) return url;
    throw refused(named);
  }
  const domains = [HOPX_AGENT_DOMAIN, ownDomain(controlPlane.hostname)];
  const isOurs = domains.some((domain) => url.hostname === domain || url.hostname.endsWith(`.${domain}`));
  if (url.protocol === 'https:' && isOurs) return url;
  throw refused(named);
}

/** `api.example.co.uk` speaks for `example.co.uk`; dropping one label never reaches a public suffix from there. */
function ownDomain(hostname: string): string {
  const labels = hostname.split('.');
  return isIP(hostname) !== 0 || labels.length < 3 ? hostname : labels.slice(1).join('.');
}

function refused(named: string): SandboxFailure {
  return new SandboxFailure('UNTRUSTED_HOST', { upstreamText: named });
}
