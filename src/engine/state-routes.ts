import { arch, cpus, release, totalmem, type } from 'node:os';
import { type Context, Hono } from 'hono';
import { WORKDIR } from '../contract/hopx.ts';
import type { AgentRoutesDeps } from './agent-routes.ts';
import { requireToken } from './authentication.ts';
import { EngineFailure } from './engine-failure.ts';
import { type ApiEnv, reply } from './http-reply.ts';
import { rfc3339 } from './sandbox-record.ts';

const AGENT = 'hopx-sandbox-mcp';

/** The version of HopX's agent whose routes these are (HopX OpenAPI, agent). */
const VERSION = '3.2.8';

/** So long identical code may be answered from a cache on HopX; here nothing is cached. */
const CACHE_TTL_SECONDS = 0;

/** What a sandbox says of itself; the first five without a token, as on HopX. */
export function stateRoutes({ agent, controlPlane, tokens, site, clock }: AgentRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const withToken = requireToken(tokens);
  const addressed = (c: Context<ApiEnv>) => controlPlane.getLive(c.req.param('sandboxId') ?? '').info;
  const timestamp = () => rfc3339(clock.now());
  const features = {
    code_execution: true,
    file_operations: true,
    terminal_access: true,
    websocket_streaming: true,
    rich_output: true,
    background_jobs: true,
    ipython_kernel: true,
    system_metrics: true,
    languages: site.languages,
  };

  routes.get('/', (c) => {
    if (c.req.param('sandboxId') === undefined) return c.notFound();
    return reply(c, { agent: AGENT, version: VERSION, vm_id: addressed(c).id });
  });

  routes.get('/health', (c) => {
    const { id, createdAtMs } = addressed(c);
    return reply(c, {
      status: 'healthy',
      agent: AGENT,
      version: VERSION,
      uptime: `${Math.floor((clock.now() - createdAtMs) / 1000)}s`,
      vm_id: id,
      features,
    });
  });

  routes.get('/ping', (c) => reply(c, { message: 'pong' }));

  routes.get('/info', (c) => {
    const { id, createdAtMs } = addressed(c);
    return reply(c, {
      vm_id: id,
      agent: AGENT,
      version: VERSION,
      agent_version: VERSION,
      platform: 'linux',
      os: 'linux',
      arch: arch(),
      ip: '127.0.0.1',
      vm_ip: '127.0.0.1',
      port: '7777',
      vm_port: '7777',
      start_time: rfc3339(createdAtMs),
      uptime: Math.floor((clock.now() - createdAtMs) / 1000),
      features,
    });
  });

  routes.get('/system', (c) => {
    addressed(c);
    const { memory_mb: memoryMb, disk_mb: diskMb } = site.resources;
    return reply(c, {
      os: {
        name: 'linux',
        version: type(),
        kernel: release(),
        arch: arch(),
        hostname: 'sandbox',
        timezone: 'UTC',
      },
      hardware: {
        cpu_cores: site.resources.vcpu,
        cpu_model: cpus()[0]?.model ?? '',
        memory_mb: Math.min(memoryMb, Math.floor(totalmem() / 1024 / 1024)),
        disk_mb: diskMb,
      },
      network: { hostname: 'sandbox' },
      environment: { workdir: WORKDIR },
      capabilities: Object.keys(features),
    });
  });

  const snapshot = (c: Context<ApiEnv>) => agent.live(c.get('sandboxId')).metrics.snapshot(clock.now());
  routes.get('/metrics', withToken, (c) => reply(c, snapshot(c)));
  routes.get('/metrics/snapshot', withToken, (c) => reply(c, snapshot(c)));
  routes.get('/metrics/prometheus', withToken, (c) => {
    const figures = Object.entries(snapshot(c)).filter(([, value]) => typeof value === 'number');
    return c.text(figures.map(([name, value]) => `hopx_agent_${name} ${value}\n`).join(''));
  });

  routes.get('/cache/stats', withToken, (c) => {
    agent.live(c.get('sandboxId'));
    const cache = { size: 0, max_size: 0, total_hits: 0, ttl: CACHE_TTL_SECONDS };
    return reply(c, { cache, timestamp: timestamp() });
  });
  routes.post('/cache/clear', withToken, (c) => {
    agent.live(c.get('sandboxId'));
    return reply(c, { success: true, message: 'Cache cleared', timestamp: timestamp() });
  });

  // One kernel a sandbox, which starts when it is first needed.
  const sessions = (c: Context<ApiEnv>) => {
    const { info } = agent.live(c.get('sandboxId'));
    const session = { session_id: info.id, kernel: 'python3', language: 'python', status: 'active' };
    return reply(c, { sessions: [session], count: 1, timestamp: timestamp() });
  };
  routes.get('/jupyter/sessions', withToken, sessions);
  routes.get('/jupyter/status', withToken, sessions);

  routes.all('/desktop/*', withToken, () => {
    throw new EngineFailure(
      'SERVICE_UNAVAILABLE',
      { message: 'Desktop is not available in this sandbox' },
      { code: 'DESKTOP_NOT_AVAILABLE', details: { missing_dependencies: ['Xvfb', 'x11vnc'] } },
    );
  });

  return routes;
}
