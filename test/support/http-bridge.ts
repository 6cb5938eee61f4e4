import { createServer } from 'node:http';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { silentLog } from '../../src/log.ts';
import { buildServer } from '../../src/mcp/server.ts';
import { tools } from '../../tools/index.ts';
import { scriptedVerbs } from './connect.ts';
import { createFrameChecker } from './mcp-schema.ts';

export type HttpBridge = { url: string; close(): Promise<void> };

/**
 * The product's server over HTTP, for a conformance suite that speaks nothing else; each request meets a new one.
 * Closing it throws when a frame was not valid in the protocol.
 */
export async function openHttpBridge(): Promise<HttpBridge> {
  const checker = createFrameChecker();
  const http = createServer(async (request, response) => {
    const { server } = buildServer({
      tools,
      sandboxes: scriptedVerbs(),
      version: '0.0.0',
      callBudgetMs: 45_000,
      redact: (text) => text,
      log: silentLog,
      stopping: new AbortController().signal,
    });
    const transport = new StreamableHTTPServerTransport();
    transport.onmessage = (frame) => checker.check('client', frame);
    const send = transport.send.bind(transport);
    transport.send = (frame, options) => {
      checker.check('server', frame);
      return send(frame, options);
    };
    response.once('close', () => void server.close());
    await server.connect(transport);
    await transport.handleRequest(request, response);
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = http.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    async close() {
      await new Promise((resolve) => {
        http.close(resolve);
        http.closeAllConnections();
      });
      if (checker.problems.length > 0) throw new Error(checker.problems.join('\n'));
    },
  };
}
