import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import {
  CallToolRequestSchema,
  type CallToolResult,
  ErrorCode,
  type Tool as ListedTool,
  ListToolsRequestSchema,
  McpError,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import type { Tool } from '../../tools/tool.ts';
import type { Call } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import type { Log } from '../log.ts';
import { boundOutput } from '../sandboxes/bounded-output.ts';
import type { Sandboxes } from '../sandboxes/sandboxes.ts';
import { instructions } from './instructions.ts';
import { createProgress } from './progress.ts';
import { callFacts, renderAnswer, renderFailure } from './render.ts';

/** The names in a refusal are the caller's own and may be of any length. */
const MAX_MESSAGE_CHARS = 2_000;

type ServerOptions = {
  tools: readonly Tool[];
  sandboxes: Sandboxes;
  version: string;
  callBudgetMs: number;
  /** Why no tool can work, when the configuration is wrong. */
  problem?: SandboxFailure | undefined;
  redact: (text: string) => string;
  log: Log;
  /** Aborted when the process is told to stop at once. */
  stopping: AbortSignal;
  now?: () => number;
  clock?: () => Date;
};

/** A server that waits for its transport. */
export type BuiltServer = {
  server: Server;
  /** Calls that have not been answered. */
  inFlight(): number;
};

/** The MCP server over `tools`; building it opens nothing and starts nothing. */
export function buildServer({
  tools,
  sandboxes,
  version,
  callBudgetMs,
  problem,
  redact,
  log,
  stopping,
  now = () => performance.now(),
  clock = () => new Date(),
}: ServerOptions): BuiltServer {
  const server = new Server(
    { name: 'hopx-sandbox-mcp', title: 'HopX sandbox', version },
    { capabilities: { tools: {} }, instructions },
  );
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  let listed: ListedTool[] | undefined;
  // Not AbortSignal.any: Node 20 keeps a note of each call on the lasting signal, and takes three times as long.
  const inFlight = new Set<AbortController>();
  const stopAll = () => {
    for (const call of inFlight) call.abort();
  };
  stopping.addEventListener('abort', stopAll, { once: true });

  // Made on first demand: a host that only looks whether the server starts need not wait for it.
  server.setRequestHandler(ListToolsRequestSchema, () => {
    listed ??= tools.map(listTool);
    return { tools: listed };
  });

  server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
    const tool = byName.get(params.name);
    if (tool === undefined) {
      const known = [...byName.keys()].join(', ');
      throw new McpError(
        ErrorCode.InvalidParams,
        `Unknown tool "${params.name.slice(0, 100)}". Tools: ${known}.`,
      );
    }
    const startedMs = now();
    const leaving = new AbortController();
    const leave = () => leaving.abort();
    if (extra.signal.aborted || stopping.aborted) leave();
    extra.signal.addEventListener('abort', leave, { once: true });
    const progress = createProgress(params._meta?.progressToken, extra.sendNotification, now);
    const call: Call = {
      signal: leaving.signal,
      deadlineMs: startedMs + callBudgetMs,
      isHeard: params._meta?.progressToken !== undefined,
      progress: (message) => progress(redact(message)),
      stats: { attempts: 0, queuedMs: 0 },
    };
    inFlight.add(leaving);
    try {
      return clean(await answer(tool, params.arguments ?? {}, call, startedMs));
    } finally {
      inFlight.delete(leaving);
    }
  });

  const answer = async (
    tool: Tool,
    given: unknown,
    call: Call,
    startedMs: number,
  ): Promise<CallToolResult> => {
    const facts = () => callFacts(call.stats, now() - startedMs);
    try {
      if (problem !== undefined) throw problem;
      const answered = await tool.run(parseInput(tool, given), sandboxes, call);
      return renderAnswer(answered, facts(), clock(), redact);
    } catch (error) {
      return renderFailure(toFailure(error, log), facts(), clock(), redact);
    }
  };

  const clean = (result: CallToolResult): CallToolResult => redactDeep(result, redact);

  return { server, inFlight: () => inFlight.size };
}

function listTool(tool: Tool): ListedTool {
  const failureShape = z.looseObject({ code: z.string(), message: z.string(), remediation: z.string() });
  const output =
    tool.output === undefined
      ? undefined
      : z.looseObject({
          ...z.object(tool.output).partial().shape,
          error: failureShape.optional(),
          call: z.looseObject({}).optional(),
        });
  return {
    name: tool.name,
    title: tool.title,
    description: tool.description,
    inputSchema: objectSchema(tool.input, 'input'),
    ...(output !== undefined && { outputSchema: objectSchema(output, 'output') }),
    annotations: { title: tool.title, ...tool.hints },
  };
}

/** JSON Schema as the protocol wants it: an object, without the keys that say nothing to a model. */
function objectSchema(schema: z.ZodObject, io: 'input' | 'output'): ListedTool['inputSchema'] {
  const { $schema: _, properties, required, additionalProperties } = z.toJSONSchema(schema, { io });
  return {
    type: 'object',
    properties: z.record(z.string(), z.looseObject({})).parse(properties ?? {}),
    ...(required !== undefined && { required }),
    ...(additionalProperties === false && { additionalProperties }),
  };
}

function parseInput(tool: Tool, given: unknown): z.output<Tool['input']> {
  const parsed = tool.input.safeParse(given);
  if (parsed.success) return parsed.data;
  const accepted = Object.keys(tool.input.shape).join(', ') || 'none';
  const found = parsed.error.issues.map((issue) => {
    if (issue.code === 'unrecognized_keys')
      return `${issue.keys.join(', ')}: no such argument; ${tool.name} takes ${accepted}`;
    const message = issue.code === 'invalid_key' ? issue.issues[0]?.message : undefined;
    return `${issue.path.join('.') || 'arguments'}: ${message ?? issue.message}`;
  });
  throw new SandboxFailure('INVALID_ARGUMENTS', {
    message: boundOutput(`Invalid arguments for ${tool.name}. ${found.join('; ')}.`, MAX_MESSAGE_CHARS).shown,
  });
}

/** Whatever was thrown, as a failure of the catalogue; what nobody foresaw is logged whole and told in short. */
function toFailure(error: unknown, log: Log): SandboxFailure {
  if (error instanceof SandboxFailure) return error;
  log.error('unexpected error in a tool', {
    error: error instanceof Error ? (error.stack ?? error.message) : String(error),
  });
  return new SandboxFailure('INTERNAL_ERROR', {
    message: 'The sandbox server itself had an unexpected error; its log on stderr says more.',
    cause: error,
  });
}

function redactDeep(result: CallToolResult, redact: (text: string) => string): CallToolResult {
  const walk = (value: unknown): unknown => {
    if (typeof value === 'string') return redact(value);
    if (Array.isArray(value)) return value.map(walk);
    return value === null || typeof value !== 'object' ? value : walkAll(value);
  };
  const walkAll = (fields: object) =>
    Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, walk(value)]));
  return {
    ...result,
    content: result.content.map((block) =>
      block.type === 'text' ? { ...block, text: redact(block.text) } : block,
    ),
    ...(result.structuredContent !== undefined && {
      structuredContent: walkAll(result.structuredContent),
    }),
  };
}
