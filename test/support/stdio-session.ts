import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { RequestOptions } from '@modelcontextprotocol/sdk/shared/protocol.js';
import { type CallToolResult, CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { builtServer } from './built-server.ts';
import { createFrameChecker } from './mcp-schema.ts';

const executionShape = z.looseObject({
  execution_id: z.string(),
  sandbox_id: z.string(),
  status: z.string(),
  stdout: z.string(),
});
const structuredShape = z.looseObject({
  sandbox: z.looseObject({ sandbox_id: z.string() }).optional(),
  execution: executionShape.optional(),
  error: z.looseObject({ code: z.string(), message: z.string() }).optional(),
});
type Structured = z.output<typeof structuredShape>;

export type StdioSession = {
  client: Client;
  call(name: string, args?: Record<string, unknown>, options?: RequestOptions): Promise<CallToolResult>;
  /** `execute_code`, of which only the structured form matters. */
  execute(args: Record<string, unknown>, options?: RequestOptions): Promise<Structured>;
  stderr(): string;
  pid(): number;
  close(): Promise<void>;
};

/**
 * Starts the built server as a host does, with the official client on its pipe. Closing it throws when a frame was
 * not valid in the protocol, when anything else stood on stdout, or when Node warned on stderr.
 */
export async function openStdioSession(env: Readonly<Record<string, string>> = {}): Promise<StdioSession> {
  const { command, args } = builtServer;
  const transport = new StdioClientTransport({
    command,
    args,
    env: { ...builtServer.env, ...env },
    stderr: 'pipe',
  });
  let stderr = '';
  transport.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const checker = createFrameChecker();
  const { problems } = checker;
  transport.onmessage = (frame) => checker.check('server', frame);
  transport.onerror = (error) => problems.push(`not a frame: ${error.message}`);
  const send = transport.send.bind(transport);
  transport.send = (frame) => {
    checker.check('client', frame);
    return send(frame);
  };
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(transport);
  // Its schemas let the client validate structuredContent.
  await client.listTools();

  const call: StdioSession['call'] = async (name, given = {}, options) =>
    CallToolResultSchema.parse(await client.callTool({ name, arguments: given }, undefined, options));
  return {
    client,
    call,
    stderr: () => stderr,
    pid: () => transport.pid ?? 0,
    execute: async (given, options) =>
      structuredShape.parse((await call('execute_code', given, options)).structuredContent),
    async close() {
      await client.close();
      if (/Warning/.test(stderr)) problems.push(stderr);
      if (problems.length > 0) throw new Error(problems.join('\n'));
    },
  };
}
