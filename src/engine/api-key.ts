import { createHash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto';

const alphanumerics = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** A random key in HopX's format: `hopx_live_<12 alphanumerics>.<32 bytes in base64url>`. */
export function newApiKey(): string {
  const keyId = Array.from({ length: 12 }, () => alphanumerics.charAt(randomInt(alphanumerics.length)));
  return `hopx_live_${keyId.join('')}.${randomBytes(32).toString('base64url')}`;
}

/** Compares in a time that says nothing about where, or at what length, the two differ. */
export function isSameKey(given: string, expected: string): boolean {
  return timingSafeEqual(digest(given), digest(expected));
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
