import { createSecretKey, randomBytes, randomUUID } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { SandboxFailure } from '../contract/failures.ts';
import type { Clock } from './clock.ts';

/** How long a sandbox's token is good for, as HopX's are: about 24 h. */
const TOKEN_SECONDS = 24 * 60 * 60;

/** More than the sandboxes of a day; beyond that all are verified anew. */
const MAX_VERIFIED = 1_000;

type SandboxToken = { token: string; expiresAtMs: number };

export type Tokens = {
  /** A new token for one sandbox; those given out before stay valid until their own end. */
  issue(sandboxId: string): Promise<SandboxToken>;
  /** The sandbox that a token is for; throws `INVALID_TOKEN`. */
  verify(token: string): Promise<string>;
};

/** Tokens signed with a secret that only this object has. */
export function createTokens({ now }: Pick<Clock, 'now'>): Tokens {
  const secret = createSecretKey(randomBytes(32));
  /** A token is verified once; nobody can take it back before its end. */
  const verified = new Map<string, { sandboxId: string; expiresAtMs: number }>();

  return {
    async issue(sandboxId) {
      const issuedAt = Math.floor(now() / 1000);
      const token = await new SignJWT()
        .setProtectedHeader({ alg: 'HS256' })
        .setSubject(sandboxId)
        .setJti(randomUUID())
        .setIssuedAt(issuedAt)
        .setExpirationTime(issuedAt + TOKEN_SECONDS)
        .sign(secret);
      return { token, expiresAtMs: (issuedAt + TOKEN_SECONDS) * 1000 };
    },

    async verify(token) {
      const known = verified.get(token);
      if (known !== undefined && now() < known.expiresAtMs) return known.sandboxId;
      try {
        const options = {
          algorithms: ['HS256'],
          requiredClaims: ['sub', 'exp'],
          currentDate: new Date(now()),
        };
        const { payload } = await jwtVerify(token, secret, options);
        if (payload.sub !== undefined) {
          if (verified.size >= MAX_VERIFIED) verified.clear();
          verified.set(token, { sandboxId: payload.sub, expiresAtMs: (payload.exp ?? 0) * 1000 });
          return payload.sub;
        }
      } catch {
        // Which check a token failed is of use only to someone who forges one.
      }
      throw new SandboxFailure('INVALID_TOKEN', { message: 'Invalid or expired token' });
    },
  };
}
