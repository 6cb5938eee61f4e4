import { type Context, Hono } from 'hono';
import { envRequest } from '../contract/hopx.ts';
import type { AgentRoutesDeps } from './agent-routes.ts';
import { requireToken } from './authentication.ts';
import { type ApiEnv, reply } from './http-reply.ts';
import { readBody } from './request-body.ts';
import { rfc3339 } from './sandbox-record.ts';

/** The environment variables of a sandbox: `/env`. */
export function envRoutes({ agent, tokens, clock }: AgentRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const withToken = requireToken(tokens);

  const replyWithEnv = (c: Context<ApiEnv>) => {
    const vars = agent.env(c.get('sandboxId')).masked();
    const count = Object.keys(vars).length;
    return reply(c, { env_vars: vars, count, timestamp: rfc3339(clock.now()) });
  };
  routes.get('/env', withToken, replyWithEnv);
  routes.put('/env', withToken, async (c) => {
    const { env_vars: vars } = await readBody(c.req.raw, envRequest);
    agent.env(c.get('sandboxId')).replace(vars);
    return replyWithEnv(c);
  });
  routes.patch('/env', withToken, async (c) => {
    const { env_vars: vars, merge = true } = await readBody(c.req.raw, envRequest);
    const env = agent.env(c.get('sandboxId'));
    if (merge) env.merge(vars);
    else env.replace(vars);
    return replyWithEnv(c);
  });
  routes.delete('/env', withToken, (c) => {
    agent.env(c.get('sandboxId')).replace({});
    return replyWithEnv(c);
  });

  return routes;
}
