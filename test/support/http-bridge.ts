import { createServer } from 'node:http';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { silentLog } from '../../src/log.ts';
import { buildServer } from '../../src/mcp/server.ts';
import { tools } from '../../tools/index.ts';
import { scriptedSandboxes } from './connect.ts';

export type HttpBridge = { url: string; close(): Promise<void> };

/** The product's server over HTTP, for a conformance suite that speaks nothing else; each request meets a new one. */
export async function openHttpBridge(): Promise<HttpBridge> {
  const http = createServer(async (request, response) => {
    const { server } = buildServer({
      tools,
      sandboxes: scriptedSandboxes(),
      version: '0.0.0',
      callBudgetMs: 45_000,
      redact: (text) => text,
      log: silentLog,
      stopping: new AbortController().signal,
    });
    const transport = new StreamableHTTPServerTransport();
    response.once('close', () => void server.close());
    await server.connect(transport);
    await transport.handleRequest(request, response);
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = http.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve());
        http.closeAllConnections();
      }),
  };
}
