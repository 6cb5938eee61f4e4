import { type Context, Hono } from 'hono';
import { z } from 'zod';
import { envRequest, executeRequest, writeFileRequest } from '../contract/hopx.ts';
import type { Agent } from './agent.ts';
import { requireToken } from './authentication.ts';
import type { Clock } from './clock.ts';
import type { ControlPlane } from './control-plane.ts';
import { type ErrorStyle, replyStyle, toExecuteReply } from './execution.ts';
import { type ApiEnv, reply } from './http-reply.ts';
import { check, readBody } from './request-body.ts';
import type { Launcher } from './sandbox/launcher.ts';
import { rfc3339 } from './sandbox-record.ts';
import type { Tokens } from './tokens.ts';

const pathQuery = z.object({ path: z.string() });

type AgentRoutesDeps = {
  agent: Agent;
  controlPlane: Pick<ControlPlane, 'getLive'>;
  tokens: Pick<Tokens, 'verify'>;
  machine: Pick<Launcher, 'languages'>;
  clock: Pick<Clock, 'now'>;
  errors: ErrorStyle;
};

/** The routes of a sandbox's own host (hopx-api §4). */
export function agentRoutes(deps: AgentRoutesDeps): Hono<ApiEnv> {
  const { agent, controlPlane, machine, errors } = deps;
  const routes = new Hono<ApiEnv>();
  const withToken = requireToken(deps.tokens);
  const timestamp = () => rfc3339(deps.clock.now());

  routes.get('/health', (c) => {
    const { info } = controlPlane.getLive(c.req.param('sandboxId') ?? '');
    const features = { code_execution: true, file_operations: true, rich_output: true };
    const agentName = 'hopx-sandbox-mcp';
    return reply(c, {
      status: 'healthy',
      agent: agentName,
      vm_id: info.id,
      features: { ...features, languages: machine.languages },
    });
  });

  routes.get('/ping', (c) => reply(c, { message: 'pong' }));

  routes.post('/execute', withToken, async (c) => {
    const request = await readBody(c.req.raw, executeRequest);
    const { run, result } = await agent.execute(c.get('sandboxId'), request, c.req.raw.signal);
    const body = toExecuteReply(run, result, deps.clock.now());
    const { status, extra } = replyStyle(errors, run, body);
    return reply(c, { ...body, ...extra }, status);
  });

  const replyWithEnv = (c: Context<ApiEnv>) => {
    const vars = agent.env(c.get('sandboxId')).masked();
    return reply(c, { env_vars: vars, count: Object.keys(vars).length, timestamp: timestamp() });
  };
  routes.get('/env', withToken, replyWithEnv);
  routes.put('/env', withToken, async (c) => {
    const { env_vars: vars } = await readBody(c.req.raw, envRequest);
    agent.env(c.get('sandboxId')).replace(vars);
    return replyWithEnv(c);
  });
  routes.patch('/env', withToken, async (c) => {
    const { env_vars: vars } = await readBody(c.req.raw, envRequest);
    agent.env(c.get('sandboxId')).merge(vars);
    return replyWithEnv(c);
  });
  routes.delete('/env', withToken, (c) => {
    agent.env(c.get('sandboxId')).replace({});
    return replyWithEnv(c);
  });

  routes.post('/files/write', withToken, async (c) => {
    const request = await readBody(c.req.raw, writeFileRequest);
    const size = await agent.writeFile(c.get('sandboxId'), request);
    const message = 'File written';
    return reply(c, { path: request.path, size, success: true, message, timestamp: timestamp() });
  });

  routes.get('/files/read', withToken, async (c) => {
    const { path } = check(pathQuery, c.req.query());
    const content = await agent.readFile(c.get('sandboxId'), path);
    return reply(c, { content: new TextDecoder().decode(content), path, size: content.byteLength });
  });

  return routes;
}
