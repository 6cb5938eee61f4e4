import type { MiddlewareHandler } from 'hono';
import type { ApiEnv } from './http-reply.ts';
import type { RateCount, RateLimits } from './rate-limits.ts';

/** Refuses what is too much with 429, and says on every answer how much is left. */
export function limitRate(limits: RateLimits): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const counts = countsOf(c.req.method, c.req.path, c.req.header('authorization') ?? '');
    if (counts.length > 0) {
      const { limit, remaining, resetSeconds, refusal } = limits.admit(counts);
      c.header('X-RateLimit-Limit', String(limit));
      c.header('X-RateLimit-Remaining', String(remaining));
      c.header('X-RateLimit-Reset', String(resetSeconds));
      if (refusal !== undefined) throw refusal;
    }
    await next();
  };
}

function countsOf(method: string, path: string, credential: string): RateCount[] {
  const [, plane, sandboxId = ''] = path.split('/');
  if (plane === 'health') return [];
  if (plane === 'vms') return [{ kind: 'agent', key: sandboxId }];
  // WebSockets come without the sandbox's path; what they are for stands in the token.
  if (plane !== 'v1') return [{ kind: 'agent', key: credential }];
  const control: RateCount = { kind: 'control', key: '' };
  const isCreate = method === 'POST' && path === '/v1/sandboxes';
  return isCreate ? [{ kind: 'create', key: '' }, control] : [control];
}
