import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import { z } from 'zod';
import { createRequest, type SandboxReply } from '../contract/hopx.ts';
import type { Clock } from './clock.ts';
import type { ControlPlane } from './control-plane.ts';
import { type ApiEnv, reply } from './http-reply.ts';
import { check, readBody } from './request-body.ts';
import type { Launcher } from './sandbox/launcher.ts';
import { rfc3339, type SandboxInfo } from './sandbox-record.ts';
import type { Change } from './state-changes.ts';
import type { Tokens } from './tokens.ts';

/** `GET /v1/sandboxes`: default and maximum of `limit` as HopX's docs have them. */
const listQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: z.coerce.number().int().nonnegative().default(0),
  status: z.string().optional(),
  region: z.string().optional(),
});

/** How often a stream of metrics tells them. */
const METRICS_MS = 1000;

const timeoutRequest = z.object({ timeout_seconds: z.int('must be positive').positive('must be positive') });

/** Where sandboxes are found, and what they are here. */
export type Site = Pick<Launcher, 'isolation' | 'languages'> & {
  baseUrl: string;
  resources: { vcpu: number; memory_mb: number; disk_mb: number };
};

type ControlRoutesDeps = {
  controlPlane: ControlPlane;
  tokens: Pick<Tokens, 'issue'>;
  site: Site;
  clock: Pick<Clock, 'now'>;
};

/** The routes under `/v1/sandboxes`. */
export function controlRoutes({ controlPlane, tokens, site, clock }: ControlRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();

  function describe(info: SandboxInfo) {
    const host = `${site.baseUrl}/vms/${info.id}`;
    return {
      id: info.id,
      object: 'sandbox',
      // Python's SDK insists on an integer.
      organization_id: 0,
      node_id: 'local',
      region: info.region,
      status: info.status,
      public_host: host,
      direct_url: host,
      preview_url: '',
      template_id: info.template.id,
      template_name: info.template.name,
      resources: site.resources,
      internet_access: info.internetAccess,
      live_mode: true,
      timeout_seconds: info.timeoutSeconds,
      expires_at: rfc3339(info.expiresAtMs),
      created_at: rfc3339(info.createdAtMs),
      isolation: site.isolation,
      languages: [...site.languages],
    } satisfies SandboxReply;
  }

  async function issueToken(id: string) {
    const { token, expiresAtMs } = await tokens.issue(id);
    return { auth_token: token, token_expires_at: rfc3339(expiresAtMs) };
  }

  routes.post('/', async (c) => {
    const info = await controlPlane.create(await readBody(c.req.raw, createRequest));
    return reply(c, { ...describe(info), ...(await issueToken(info.id)) }, 201);
  });

  routes.get('/', (c) => {
    const { sandboxes, hasMore } = controlPlane.list(check(listQuery, c.req.query()));
    return reply(c, {
      object: 'list',
      data: sandboxes.map(describe),
      has_more: hasMore,
      next_cursor: hasMore ? String(sandboxes.at(-1)?.serial) : null,
      url: '/v1/sandboxes',
    });
  });

  routes.get('/:id', (c) => reply(c, describe(controlPlane.get(c.req.param('id')))));

  routes.delete('/:id', async (c) => {
    const id = c.req.param('id');
    await controlPlane.delete(id);
    return reply(c, { status: 'deleted', id });
  });

  routes.post('/:id/kill', async (c) => {
    const id = c.req.param('id');
    await controlPlane.delete(id);
    return reply(c, { id, status: 'killed' });
  });

  for (const change of ['pause', 'resume', 'start', 'stop'] as const satisfies readonly Change[]) {
    routes.post(`/:id/${change}`, async (c) => {
      const { id, status } = await controlPlane.change(c.req.param('id'), change);
      return reply(c, { id, status });
    });
  }

  routes.put('/:id/timeout', async (c) => {
    const { timeout_seconds: seconds } = await readBody(c.req.raw, timeoutRequest);
    const { id, timeoutSeconds, expiresAtMs } = controlPlane.setTimeout(c.req.param('id'), seconds);
    return reply(c, { id, timeout_seconds: timeoutSeconds, expires_at: rfc3339(expiresAtMs) });
  });

  routes.get('/:id/metrics/stream', (c) => {
    const { info } = controlPlane.getLive(c.req.param('id'));
    return streamSSE(c, async (stream) => {
      while (!stream.aborted) {
        const live = controlPlane.find(info.id);
        if (live === undefined) return;
        await stream.writeSSE({ data: JSON.stringify(live.metrics.snapshot(clock.now())) });
        await stream.sleep(METRICS_MS);
      }
    });
  });

  routes.post('/:id/token/refresh', async (c) => {
    const { info } = controlPlane.getLive(c.req.param('id'));
    return reply(c, await issueToken(info.id));
  });

  return routes;
}
