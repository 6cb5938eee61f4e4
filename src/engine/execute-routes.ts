import { type Context, Hono } from 'hono';
import { executeRequest } from '../contract/hopx.ts';
import { commandRequest } from './agent-requests.ts';
import type { AgentRoutesDeps } from './agent-routes.ts';
import { requireToken } from './authentication.ts';
import { replyStyle, toExecuteReply } from './execution.ts';
import { type ApiEnv, reply } from './http-reply.ts';
import { streamLines } from './ndjson.ts';
import { readBody } from './request-body.ts';
import type { RunOptions } from './sandbox/local-sandbox.ts';

const NDJSON = 'application/x-ndjson';

/** Code and commands that the caller waits for: `/execute` and `/commands/run`. */
export function executeRoutes({ agent, tokens, clock, errors }: AgentRoutesDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const withToken = requireToken(tokens);

  const execute = async (c: Context<ApiEnv>) => {
    const request = await readBody(c.req.raw, executeRequest);
    const run = async (options: RunOptions) => {
      const executed = await agent.execute(c.get('sandboxId'), request, options);
      const body = toExecuteReply(executed.run, executed.result, clock.now());
      const { status, extra } = replyStyle(errors, executed.run, body);
      return { status, body: { ...body, ...extra } };
    };
    if (c.req.header('accept')?.includes(NDJSON) === true) return streamLines(c, run);
    const { status, body } = await run({ signal: c.req.raw.signal });
    return reply(c, body, status);
  };
  routes.post('/execute', withToken, execute);
  // Later agents run everything with rich output, in the same kernel.
  routes.post('/execute/rich', withToken, execute);
  routes.post('/execute/ipython', withToken, execute);

  routes.post('/commands/run', withToken, async (c) => {
    const request = await readBody(c.req.raw, commandRequest);
    const { run, result } = await agent.runCommand(c.get('sandboxId'), request, { signal: c.req.raw.signal });
    const { language: _, ...body } = toExecuteReply(run, result, clock.now());
    const { status, extra } = replyStyle(errors, run, body);
    const command = [request.command, ...(request.args ?? [])].join(' ');
    return reply(c, { ...body, command, ...extra }, status);
  });

  return routes;
}
