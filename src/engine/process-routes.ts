import { type Context, Hono } from 'hono';
import { asyncRequest, backgroundRequest, commandRequest, killRequest } from './agent-requests.ts';
import type { AgentRoutesDeps } from './agent-routes.ts';
import { requireToken } from './authentication.ts';
import { invalidRequest } from './engine-failure.ts';
import { type ApiEnv, reply } from './http-reply.ts';
import type { Process } from './processes.ts';
import { readBody } from './request-body.ts';
import { rfc3339 } from './sandbox-record.ts';

/** Code and commands that nobody waits for, and what runs in the sandbox. */
export function processRoutes({ agent, tokens, clock }: AgentRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const withToken = requireToken(tokens);
  const timestamp = () => rfc3339(clock.now());

  /** The union of the names that HopX's documents and SDKs have for the same things. */
  const describe = (process: Process) => {
    const endedAt = process.endedAtMs === undefined ? null : rfc3339(process.endedAtMs);
    const elapsedMs = (process.endedAtMs ?? clock.now()) - process.startedAtMs;
    return {
      process_id: process.id,
      execution_id: process.id,
      name: process.name,
      status: process.status,
      language: process.language,
      start_time: rfc3339(process.startedAtMs),
      started_at: rfc3339(process.startedAtMs),
      end_time: endedAt,
      completed_at: endedAt,
      exit_code: process.exitCode ?? null,
      duration: elapsedMs / 1000,
      execution_time: elapsedMs / 1000,
    };
  };
  const started = (c: Context<ApiEnv>, process: Process) => {
    const { process_id, execution_id, name, status, start_time } = describe(process);
    return reply(c, { process_id, execution_id, name, status, start_time, message: 'Process started' });
  };

  routes.post('/execute/background', withToken, async (c) => {
    const request = await readBody(c.req.raw, backgroundRequest);
    return started(c, agent.startCode(c.get('sandboxId'), request));
  });
  routes.post('/commands/background', withToken, async (c) => {
    const request = await readBody(c.req.raw, commandRequest);
    return started(c, agent.startCommand(c.get('sandboxId'), request));
  });
  routes.post('/execute/async', withToken, async (c) => {
    const request = await readBody(c.req.raw, asyncRequest);
    const { id } = agent.startAsync(c.get('sandboxId'), request);
    return reply(c, {
      execution_id: id,
      process_id: id,
      status: 'queued',
      callback_url: request.callback_url,
      message: 'Execution queued',
      timestamp: timestamp(),
    });
  });

  routes.get('/execute/processes', withToken, (c) => {
    const processes = agent.live(c.get('sandboxId')).processes.list().map(describe);
    return reply(c, { processes, count: processes.length, timestamp: timestamp() });
  });

  const kill = async (c: Context<ApiEnv>, id: string | undefined) => {
    if (id === undefined || id === '') throw invalidRequest("missing required field 'process_id'");
    await agent.live(c.get('sandboxId')).processes.kill(id);
    return reply(c, { process_id: id, status: 'killed', message: 'Process killed' });
  };
  const killNamed = async (c: Context<ApiEnv>) => {
    const { process_id: inBody } = await readBody(c.req.raw, killRequest);
    return kill(c, inBody ?? c.req.query('process_id'));
  };
  routes.post('/execute/kill/:processId', withToken, (c) => kill(c, c.req.param('processId')));
  routes.post('/execute/kill', withToken, killNamed);
  routes.delete('/execute/kill', withToken, killNamed);

  routes.get('/processes', withToken, async (c) => {
    const sandbox = await agent.sandbox(c.get('sandboxId'));
    const processes = sandbox.processes();
    return reply(c, { processes, count: processes.length, timestamp: timestamp() });
  });

  return routes;
}
