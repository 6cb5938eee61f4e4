import { randomUUID } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { methodNotAllowed } from 'hono/method-not-allowed';
import type { Log } from '../log.ts';
import type { Agent } from './agent.ts';
import { agentRoutes } from './agent-routes.ts';
import { requireApiKey } from './authentication.ts';
import type { Clock } from './clock.ts';
import type { ControlPlane } from './control-plane.ts';
import { controlRoutes, type Site } from './control-routes.ts';
import type { ErrorStyle } from './execution.ts';
import { injectFaults } from './fault-injection.ts';
import type { Faults } from './faults.ts';
import { type ApiEnv, errorReply, failureReply, reply } from './http-reply.ts';
import { limitRate } from './rate-limiting.ts';
import type { RateLimits } from './rate-limits.ts';
import { templateRoutes } from './template-routes.ts';
import type { Tokens } from './tokens.ts';

type HttpApiDeps = {
  apiKey: string;
  controlPlane: ControlPlane;
  agent: Agent;
  tokens: Tokens;
  site: Site;
  clock: Pick<Clock, 'now'>;
  errors: ErrorStyle;
  /** Without these, requests are not counted. */
  rateLimits?: RateLimits | undefined;
  faults?: Faults | undefined;
  log: Log;
};

/** HopX's HTTP API: which route is which verb, and how a failure looks on the wire. */
export function createHttpApi(deps: HttpApiDeps): Hono<ApiEnv> {
  const { clock, log } = deps;
  const api = new Hono<ApiEnv>();

  api.use(async (c, next) => {
    const startedAtMs = clock.now();
    const requestId = newRequestId(startedAtMs);
    c.set('requestId', requestId);
    // Not by way of Hono, which would make a Headers of it that has to be read out again: a tenth of a short answer.
    c.env.outgoing.setHeader('X-Request-ID', requestId);
    await next();
    const { method, path } = c.req;
    const elapsedMs = clock.now() - startedAtMs;
    noteMetrics(deps, c, elapsedMs);
    log.debug('request', {
      request_id: requestId,
      method,
      path,
      status: c.res.status,
      elapsed_ms: elapsedMs,
    });
  });
  if (deps.rateLimits !== undefined) api.use(limitRate(deps.rateLimits));
  if (deps.faults !== undefined) api.use(injectFaults(deps.faults));
  api.use(
    methodNotAllowed({
      app: api,
      onMethodNotAllowed(c, methods) {
        c.header('Allow', methods.join(', '));
        return errorReply(c, { status: 405, code: 'METHOD_NOT_ALLOWED', text: 'Method not allowed' });
      },
    }),
  );
  api.onError((error, c) => failureReply(c, error, log));
  api.notFound((c) => errorReply(c, { status: 404, code: 'RESOURCE_NOT_FOUND', text: 'Route not found' }));

  api.get('/health', (c) => reply(c, { status: 'healthy' }));
  api.use('/v1/*', requireApiKey(deps.apiKey));
  api.route('/v1/sandboxes', controlRoutes(deps));
  api.route('/v1/templates', templateRoutes(deps.site));

  const agent = agentRoutes(deps);
  api.route('/vms/:sandboxId', agent);
  // The SDKs' WebSockets leave out a path in `public_host`: there the token alone says which sandbox.
  api.route('/', agent);
  return api;
}

/** Counts a request that had a sandbox's token. */
function noteMetrics(
  { controlPlane }: Pick<HttpApiDeps, 'controlPlane'>,
  c: Context<ApiEnv>,
  elapsedMs: number,
) {
  const sandboxId: string | undefined = c.get('sandboxId');
  if (sandboxId === undefined) return;
  const route = `${c.req.method} ${c.req.path.replace(/^\/vms\/[^/]+/, '').replace(/^(\/execute\/kill|\/desktop)\/.*/, '$1')}`;
  controlPlane.find(sandboxId)?.metrics.note(route, elapsedMs, c.res.status >= 400);
}

/** HopX's form: `req_<unix time>_<16 hex digits>`. */
function newRequestId(nowMs: number): string {
  return `req_${Math.floor(nowMs / 1000)}_${randomUUID().replaceAll('-', '').slice(0, 16)}`;
}
