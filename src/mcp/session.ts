import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { type CallToolResult, CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';

type Command = {
  command: string;
  args: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
};

/** A host's side of one MCP session. */
export type Session = {
  serverName: string;
  toolNames: readonly string[];
  call(tool: string, args: Readonly<Record<string, unknown>>): Promise<CallToolResult>;
  close(): Promise<void>;
};

/** Starts an MCP server as a host does, with the official client over stdio. */
export async function openSession({ command, args, cwd, env }: Command): Promise<Session> {
  const transport = new StdioClientTransport({
    command,
    args: [...args],
    cwd,
    env: { ...env },
    stderr: 'ignore',
  });
  const client = new Client({ name: 'hopx-sandbox-mcp-demo', version: '1' });
  await client.connect(transport);
  const { tools } = await client.listTools();
  return {
    serverName: `${client.getServerVersion()?.name} ${client.getServerVersion()?.version}`,
    toolNames: tools.map((tool) => tool.name),
    call: async (name, given) =>
      CallToolResultSchema.parse(await client.callTool({ name, arguments: { ...given } })),
    close: () => client.close(),
  };
}
