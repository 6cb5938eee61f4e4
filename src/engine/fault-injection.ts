import { setTimeout as sleep } from 'node:timers/promises';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context, MiddlewareHandler } from 'hono';
import type { Fault, Faults } from './faults.ts';
import type { ApiEnv } from './http-reply.ts';

/** Makes the requests fail that the faults choose, before or after their work is done. */
export function injectFaults(faults: Faults): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const fault = faults.choose(c.req.method, c.req.path.replace(/^\/vms\/[^/]+/, '') || '/');
    if (fault === undefined) return next();
    if (fault.delay_ms !== undefined) {
      await sleep(fault.delay_ms, undefined, { ref: false, signal: c.req.raw.signal });
    }
    if (!('when' in fault) || fault.when === 'after') await next();
    if (fault.action === 'delay') return undefined;
    const answer = await spoiled(c, fault);
    // Else Hono would make a new answer of both, which nobody could tell from one that is still to be sent.
    if (answer === RESPONSE_ALREADY_SENT) c.res = undefined;
    c.res = answer;
    return undefined;
  };
}

async function spoiled(c: Context<ApiEnv>, fault: Exclude<Fault, { action: 'delay' }>): Promise<Response> {
  const { outgoing } = c.env;
  switch (fault.action) {
    case 'reply': {
      const { status, code, error = 'Injected fault', retry_after: retryAfter } = fault;
      const requestId = c.get('requestId');
      const body = { error, message: error, code, retry_after: retryAfter, request_id: requestId };
      const headers = ownHeaders(c.res);
      if (retryAfter !== undefined) headers.set('Retry-After', String(retryAfter));
      return Response.json(body, { status, headers });
    }
    case 'html':
      return new Response('<html><body>upstream connect error</body></html>', {
        status: fault.status,
        headers: { 'Content-Type': 'text/html' },
      });
    case 'reset':
      // Unix sockets know no reset.
      if (outgoing.socket?.remoteAddress === undefined) outgoing.socket?.destroy();
      else outgoing.socket.resetAndDestroy();
      return RESPONSE_ALREADY_SENT;
    case 'cut': {
      const whole = Buffer.from(await c.res.arrayBuffer());
      outgoing.writeHead(c.res.status, {
        ...Object.fromEntries(c.res.headers),
        'content-length': whole.length,
      });
      outgoing.write(whole.subarray(0, Math.floor(whole.length / 2)), () => outgoing.socket?.destroy());
      return RESPONSE_ALREADY_SENT;
    }
  }
}

/** Request id and rate limits, which every answer carries whatever it says. */
function ownHeaders({ headers }: Response): Headers {
  return new Headers([...headers].filter(([name]) => name.startsWith('x-')));
}
