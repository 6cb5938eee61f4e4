import { Hono } from 'hono';
import type { Agent } from './agent.ts';
import type { Clock } from './clock.ts';
import type { ControlPlane } from './control-plane.ts';
import type { Site } from './control-routes.ts';
import { envRoutes } from './env-routes.ts';
import { executeRoutes } from './execute-routes.ts';
import type { ErrorStyle } from './execution.ts';
import { fileRoutes } from './file-routes.ts';
import type { ApiEnv } from './http-reply.ts';
import { processRoutes } from './process-routes.ts';
import { stateRoutes } from './state-routes.ts';
import type { Tokens } from './tokens.ts';

export type AgentRoutesDeps = {
  agent: Agent;
  controlPlane: Pick<ControlPlane, 'getLive'>;
  tokens: Pick<Tokens, 'verify'>;
  site: Site;
  clock: Pick<Clock, 'now'>;
  errors: ErrorStyle;
};

/** The routes of a sandbox's own host: what HopX's VM agent answers. */
export function agentRoutes(deps: AgentRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  for (const group of [stateRoutes, executeRoutes, processRoutes, envRoutes, fileRoutes]) {
    routes.route('/', group(deps));
  }
  return routes;
}
