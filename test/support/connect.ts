import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import type { RequestOptions } from '@modelcontextprotocol/sdk/shared/protocol.js';
import { type CallToolResult, CallToolResultSchema, type Tool } from '@modelcontextprotocol/sdk/types.js';
import { silentLog } from '../../src/log.ts';
import { buildServer } from '../../src/mcp/server.ts';
import type { Sandboxes } from '../../src/sandboxes/sandboxes.ts';
import { tools } from '../../tools/index.ts';
import { createFrameChecker } from './mcp-schema.ts';

type ServerOptions = Parameters<typeof buildServer>[0];

export type Session = {
  client: Client;
  listed: readonly Tool[];
  /** Every frame so far, in both directions. */
  frames: readonly unknown[];
  inFlight(): number;
  call(name: string, args?: Record<string, unknown>, options?: RequestOptions): Promise<CallToolResult>;
};

/** Sandboxes whose verbs do what the test says, and fail it where it says nothing. */
export function scriptedVerbs(script: Partial<Sandboxes> = {}): Sandboxes {
  const unscripted = (verb: string) => async (): Promise<never> => {
    throw new Error(`${verb} is not in the script`);
  };
  return {
    create: unscripted('create'),
    execute: unscripted('execute'),
    wait: unscripted('wait'),
    cancel: unscripted('cancel'),
    delete: unscripted('delete'),
    list: unscripted('list'),
    close: unscripted('close'),
    ...script,
  };
}

/**
 * Joins the official client to the server in this process. The client knows the tools' output schemas, so
 * that it refuses what is not valid against them; every frame is checked against the protocol's schema.
 */
export async function withServer<T>(
  options: Partial<Omit<ServerOptions, 'sandboxes'>> & { sandboxes?: Partial<Sandboxes> },
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const { server, inFlight } = buildServer({
    tools,
    version: '0.0.0',
    callBudgetMs: 45_000,
    redact: (text) => text,
    log: silentLog,
    stopping: new AbortController().signal,
    ...options,
    sandboxes: scriptedVerbs(options.sandboxes),
  });
  const checker = createFrameChecker();
  const [clientEnd, serverEnd] = InMemoryTransport.createLinkedPair();
  for (const [from, end] of [
    ['client', clientEnd],
    ['server', serverEnd],
  ] as const) {
    const send = end.send.bind(end);
    end.send = (frame, sendOptions) => {
      checker.check(from, frame);
      return send(frame, sendOptions);
    };
  }
  const client = new Client({ name: 'test', version: '0.0.0' });
  await Promise.all([server.connect(serverEnd), client.connect(clientEnd)]);
  const { tools: listed } = await client.listTools();
  const call: Session['call'] = async (name, args = {}, requestOptions) =>
    CallToolResultSchema.parse(await client.callTool({ name, arguments: args }, undefined, requestOptions));
  const session = { client, listed, frames: checker.frames, inFlight, call };
  const answer = await use(session).finally(() => client.close());
  if (checker.problems.length > 0)
    throw new Error(`not valid in the protocol:\n${checker.problems.join('\n')}`);
  return answer;
}
