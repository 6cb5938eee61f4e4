import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { z } from 'zod';
import type { Log } from '../log.ts';
import type { Agent } from './agent.ts';
import { streamRequest, terminalFrame, watchFrame } from './agent-requests.ts';
import { verifiedSandbox } from './authentication.ts';
import type { Clock } from './clock.ts';
import { toExecuteReply } from './execution.ts';
import { createFrames, type Frames } from './frames.ts';
import { asFailure, describeFailure } from './http-reply.ts';
import type { UpgradeListener } from './listener.ts';
import { check } from './request-body.ts';
import { rfc3339 } from './sandbox-record.ts';
import type { Tokens } from './tokens.ts';

type WebSocketsDeps = {
  agent: Agent;
  tokens: Pick<Tokens, 'verify'>;
  clock: Pick<Clock, 'now'>;
  log: Log;
};

type Conversation = {
  sandboxId: string;
  frames: Frames;
  /** Aborted when the other end is gone. */
  signal: AbortSignal;
  /** The frames that come in, as JSON. */
  messages: AsyncIterable<unknown>;
};

/** A program to run, or a line typed into a terminal. */
const MAX_FRAME_BYTES = 1024 * 1024;

/** Whoever is so far behind has lost sight of the files anyway. */
const MAX_WAITING_CHANGES = 2000;

/** From so many frames on that nobody has taken, no more are read. */
const MAX_WAITING_MESSAGES = 64;

/** The WebSockets of a sandbox, which need its token as everything else there. */
export function createWebSockets({ agent, tokens, clock, log }: WebSocketsDeps): UpgradeListener {
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_FRAME_BYTES });
  const timestamp = () => rfc3339(clock.now());

  const talks: Record<string, (conversation: Conversation) => Promise<void>> = {
    '/execute/stream': async ({ sandboxId, frames, signal, messages }) => {
      const request = await firstMessage(messages, streamRequest);
      if (request === undefined) return;
      const onOutput = (type: 'stdout' | 'stderr', data: string) =>
        void frames.send({ type, data, timestamp: timestamp() });
      const { run, result } = await agent.execute(sandboxId, request, { signal, onOutput });
      const { stdout: _out, stderr: _err, ...body } = toExecuteReply(run, result, clock.now());
      await frames.send({ ...body, type: 'result' });
      await frames.send({ type: 'complete', success: body.success ?? false, timestamp: timestamp() });
    },

    '/terminal': async ({ sandboxId, frames, signal, messages }) => {
      const entry = agent.live(sandboxId);
      const terminal = await (await entry.sandbox).openTerminal({
        env: entry.env.all(),
        signal,
        onOutput: (data) => frames.send({ type: 'output', data, timestamp: timestamp() }),
      });
      const listen = async () => {
        for await (const message of messages) {
          const frame = check(terminalFrame, message);
          if (frame.type === 'input') terminal.write(frame.data);
          else terminal.resize(frame.cols, frame.rows);
        }
      };
      const code = await Promise.race([terminal.ended, listen().then(() => terminal.ended)]);
      await frames.send({ type: 'exit', code, exitCode: code, timestamp: timestamp() });
    },

    '/files/watch': async ({ sandboxId, frames, signal, messages }) => {
      const request = await firstMessage(messages, watchFrame);
      if (request === undefined) return;
      const sandbox = await agent.sandbox(sandboxId);
      await sandbox.watchFiles(request.path, {
        signal,
        onChange({ path, event }) {
          if (frames.waiting() >= MAX_WAITING_CHANGES) return;
          void frames.send({ type: 'change', path, event, timestamp: timestamp() });
        },
      });
    },
  };

  function converse(
    socket: WebSocket,
    sandboxId: string,
    talk: (conversation: Conversation) => Promise<void>,
  ) {
    const gone = new AbortController();
    socket.on('error', (error) => log.debug('WebSocket failed', { error: String(error) }));
    socket.once('close', () => gone.abort());
    const frames = createFrames(socket);
    talk({ sandboxId, frames, signal: gone.signal, messages: messagesOf(socket) })
      .catch(async (thrown: unknown) => {
        const { body } = describeFailure(asFailure(thrown));
        await frames.send({ ...body, type: 'error', timestamp: timestamp() });
        await frames.send({ type: 'complete', success: false, timestamp: timestamp() });
      })
      .finally(() => frames.end())
      .catch((error: unknown) => log.debug('WebSocket failed', { error: String(error) }));
  }

  return (request, socket, head) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const [, addressed, path = ''] = /^(?:\/vms\/([^/]+))?(\/.*)$/.exec(pathname) ?? [];
    const talk = talks[path];
    if (talk === undefined)
      return refuse(socket, 404, { error: 'Route not found', code: 'RESOURCE_NOT_FOUND' });
    verifiedSandbox(tokens, request.headers.authorization, addressed)
      .then((sandboxId) => {
        agent.live(sandboxId);
        server.handleUpgrade(request, socket, head, (accepted) => converse(accepted, sandboxId, talk));
      })
      .catch((thrown: unknown) => {
        const { status, body } = describeFailure(asFailure(thrown));
        refuse(socket, status, body);
      });
  };
}

function refuse(socket: Duplex, status: number, body: Readonly<Record<string, unknown>>): void {
  const text = JSON.stringify(body);
  const head = `HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Type: application/json`;
  socket.end(`${head}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
}

/** Empty frames occur and mean nothing (hopx-ai/hopx issue 31). */
async function* messagesOf(socket: WebSocket): AsyncGenerator<unknown> {
  const queue: string[] = [];
  let wake = () => {};
  socket.on('message', (data) => {
    queue.push(String(data));
    if (queue.length >= MAX_WAITING_MESSAGES) socket.pause();
    wake();
  });
  socket.once('close', () => wake());
  for (;;) {
    const text = queue.shift();
    if (text !== undefined) {
      if (text.trim() !== '') yield parseJson(text);
    } else if (socket.readyState === socket.OPEN) {
      socket.resume();
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    } else return;
  }
}

async function firstMessage<Schema extends z.ZodType>(
  messages: AsyncIterable<unknown>,
  schema: Schema,
): Promise<z.output<Schema> | undefined> {
  for await (const message of messages) return check(schema, message);
  return undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
