import type { Readable, Writable } from 'node:stream';
import { type GuestEvent, guestEvent } from './guest-events.ts';

/** What the host asks of the agent; `id` names the run or file operation in every event about it. */
export type GuestRequest = { id: string } & (
  | { op: 'run'; language: string; code: string; env: Readonly<Record<string, string>>; workdir?: string }
  | { op: 'prepare' | 'interrupt' | 'kill' | 'stop' }
  | { op: 'write'; path: string; data: string; overwrite: boolean; mode?: number }
  | { op: 'read' | 'open' | 'list' | 'exists' | 'remove' | 'mkdir' | 'watch'; path: string }
  | { op: 'pull' | 'create' | 'close' | 'unwatch' | 'more' }
  | { op: 'put'; data: string }
  | { op: 'commit'; path: string; overwrite: boolean; mode?: number }
  | { op: 'terminal'; env: Readonly<Record<string, string>>; columns: number; rows: number }
  | { op: 'input'; text: string }
  | { op: 'resize'; columns: number; rows: number }
);

export type GuestChannel = {
  send(request: GuestRequest): void;
  /** Stops listening; what still arrives is dropped. */
  close(): void;
};

type GuestChannelOptions = {
  input: Writable;
  output: Readable;
  onEvent(event: GuestEvent, lineBytes: number): void;
  /** Called once, with the reason, when a line is not one that the agent sends. */
  onGarbage(reason: string): void;
};

/** The agent's longest line is a piece of 128 Ki characters at six bytes each when escaped. */
export const MAX_LINE_BYTES = 1024 * 1024;

/** JSON lines to and from the agent; every line from it is taken for hostile until checked. */
export function createGuestChannel({ input, output, onEvent, onGarbage }: GuestChannelOptions): GuestChannel {
  let open = true;
  let pending: Buffer[] = [];
  let pendingBytes = 0;

  const garbage = (reason: string) => {
    channel.close();
    onGarbage(reason);
  };
  const takeLine = (line: Buffer) => {
    const parsed = guestEvent.safeParse(parseJson(line.toString('utf8')));
    if (parsed.success) onEvent(parsed.data, line.length);
    else garbage('a line that is no event of the agent');
  };
  const takeChunk = (chunk: Buffer) => {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0 && open; end = chunk.indexOf(10, start)) {
      const tail = chunk.subarray(start, end);
      const line = pending.length === 0 ? tail : Buffer.concat([...pending, tail]);
      pending = [];
      pendingBytes = 0;
      start = end + 1;
      if (line.length > MAX_LINE_BYTES) garbage('a line that is too long');
      else takeLine(line);
    }
    if (!open || start === chunk.length) return;
    pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    if (pendingBytes > MAX_LINE_BYTES) garbage('a line that is too long');
  };

  const channel: GuestChannel = {
    send(request) {
      if (open) input.write(`${JSON.stringify(request)}\n`);
    },
    close() {
      open = false;
      pending = [];
      output.off('data', takeChunk);
      output.resume();
    },
  };
  // The agent may be gone at any moment; that is told by its process, not by its pipes.
  input.on('error', () => {});
  output.on('error', () => {});
  output.on('data', takeChunk);
  return channel;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
