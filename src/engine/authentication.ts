import type { Context, MiddlewareHandler } from 'hono';
import { SandboxFailure } from '../contract/failures.ts';
import { isSameKey } from './api-key.ts';
import type { ApiEnv } from './http-reply.ts';
import type { Tokens } from './tokens.ts';

/** Lets through who has the key, in either of the two headers that HopX takes. */
export function requireApiKey(apiKey: string): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const given = c.req.header('x-api-key') ?? bearer(c.req.header('authorization')) ?? inQuery(c);
    if (!isSameKey(required(given), apiKey)) {
      throw new SandboxFailure('INVALID_TOKEN', { message: 'Invalid API key' });
    }
    await next();
  };
}

/** Lets through who has a sandbox's token, and notes which sandbox it is. */
export function requireToken(tokens: Pick<Tokens, 'verify'>): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const authorization = c.req.header('authorization');
    c.set('sandboxId', await verifiedSandbox(tokens, authorization, c.req.param('sandboxId')));
    await next();
  };
}

/** The sandbox that the token in the header is for, which has to be the one addressed if one is. */
export async function verifiedSandbox(
  tokens: Pick<Tokens, 'verify'>,
  authorization: string | undefined,
  addressed: string | undefined,
): Promise<string> {
  const sandboxId = await tokens.verify(required(bearer(authorization)));
  if (addressed === undefined || addressed === sandboxId) return sandboxId;
  throw new SandboxFailure('INVALID_TOKEN', { message: 'The token is for another sandbox' });
}

/** Browsers cannot give an EventSource a header, so streams of metrics take the key in the query, as on HopX. */
function inQuery(c: Context<ApiEnv>): string | undefined {
  return c.req.path.endsWith('/metrics/stream') ? c.req.query('token') : undefined;
}

function required(credential: string | undefined): string {
  if (credential !== undefined) return credential;
  throw new SandboxFailure('AUTHENTICATION_REQUIRED', { message: 'Authentication required' });
}

function bearer(header: string | undefined): string | undefined {
  return header?.match(/^Bearer +(\S+) *$/i)?.[1];
}
