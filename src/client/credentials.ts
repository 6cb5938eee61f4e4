import { SandboxFailure } from '../contract/failures.ts';
import type { SandboxReply } from '../contract/hopx.ts';
import { trustedHost } from './trusted-host.ts';

/** Where a sandbox's agent is and the token that opens it. */
export type Access = { host: URL; token: string };

type Known = { host: URL; token?: string; expiresAtMs: number };
type Renewed = { auth_token: string; token_expires_at?: string | null | undefined };

export type Credentials = {
  /** Takes host and token from a reply that carries them. Throws `UNTRUSTED_HOST`. */
  remember(reply: SandboxReply): void;
  /** The cached access, renewed when it is about to expire; concurrent callers share one renewal. */
  access(sandboxId: string): Promise<Access>;
  /** Forgets a token that was refused, unless a newer one has come since. */
  invalidate(sandboxId: string, token: string): void;
  forget(sandboxId: string): void;
};

type CredentialsOptions = {
  controlPlane: URL;
  renew(sandboxId: string): Promise<Renewed>;
  lookUp(sandboxId: string): Promise<SandboxReply>;
  /** Told of every token, so that it can be kept out of logs and results. */
  onSecret(token: string): void;
  /** Milliseconds since the epoch: tokens expire by the calendar. */
  now?: () => number;
};

/** A run may take longer than this to be sent after its token was looked at, but rarely. */
const RENEW_BEFORE_MS = 60_000;

/** Hosts and tokens of the sandboxes that the client has met. */
export function createCredentials({
  controlPlane,
  renew,
  lookUp,
  onSecret,
  now = Date.now,
}: CredentialsOptions): Credentials {
  const known = new Map<string, Known>();
  const renewals = new Map<string, Promise<Access>>();

  const store = (sandboxId: string, host: URL, reply: Partial<Renewed>): Known => {
    const expiresAtMs = Date.parse(reply.token_expires_at ?? '');
    const entry = {
      host,
      ...(reply.auth_token && { token: reply.auth_token }),
      expiresAtMs: Number.isNaN(expiresAtMs) ? Infinity : expiresAtMs,
    };
    if (reply.auth_token) onSecret(reply.auth_token);
    known.set(sandboxId, entry);
    return entry;
  };

  const remember = (reply: SandboxReply) => {
    const named = reply.public_host || reply.direct_url;
    if (!named) return;
    const host = trustedHost(named, controlPlane);
    if (reply.auth_token)
      store(reply.id, host, { auth_token: reply.auth_token, token_expires_at: reply.token_expires_at });
    else known.set(reply.id, { expiresAtMs: 0, ...known.get(reply.id), host });
  };

  const obtain = async (sandboxId: string): Promise<Access> => {
    if (!known.has(sandboxId)) remember(await lookUp(sandboxId));
    const entry = known.get(sandboxId);
    if (entry === undefined) {
      throw new SandboxFailure('INVALID_RESPONSE', {
        message: 'The sandbox API did not say where the sandbox is.',
        outcome: 'not_performed',
      });
    }
    if (isGood(entry)) return entry;
    const reply = await renew(sandboxId);
    store(sandboxId, entry.host, reply);
    return { host: entry.host, token: reply.auth_token };
  };

  const isGood = (entry: Known | undefined): entry is Known & Access =>
    entry?.token !== undefined && entry.expiresAtMs - now() > RENEW_BEFORE_MS;

  return {
    remember,
    async access(sandboxId) {
      const entry = known.get(sandboxId);
      if (isGood(entry)) return entry;
      const underWay = renewals.get(sandboxId) ?? obtain(sandboxId).finally(() => renewals.delete(sandboxId));
      renewals.set(sandboxId, underWay);
      return underWay;
    },
    invalidate(sandboxId, token) {
      const entry = known.get(sandboxId);
      if (entry?.token === token) known.set(sandboxId, { host: entry.host, expiresAtMs: 0 });
    },
    forget(sandboxId) {
      known.delete(sandboxId);
    },
  };
}
