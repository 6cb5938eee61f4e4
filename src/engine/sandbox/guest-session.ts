import type { Readable, Writable } from 'node:stream';
import { type FailureCode, SandboxFailure } from '../../contract/failures.ts';
import type { Log } from '../../log.ts';
import { createGuestChannel, type GuestRequest } from './guest-channel.ts';
import type { GuestEvent } from './guest-events.ts';

/** The processes of a sandbox, as seen from outside. */
export type Guest = {
  input: Writable;
  output: Readable;
  /** Ends all of them. */
  kill(): void;
  /** Resolves once all of them are gone. */
  exited: Promise<void>;
};

export type SandboxEnd = 'destroyed' | 'memory' | 'crashed' | 'misbehaved';

/** A run or file operation in flight. */
export type Operation = {
  /** False if the agent would not have sent this. */
  take(event: GuestEvent, lineBytes: number): boolean;
  sandboxEnded(reason: SandboxEnd): void;
};

export type GuestSession = {
  /** Resolves with the agent's first line; rejects if the sandbox ends before. */
  ready: Promise<void>;
  /** Resolves once every process is gone, with why. */
  ended: Promise<SandboxEnd>;
  send(request: GuestRequest): void;
  /** From now on the events with this id belong to the operation. */
  begin(id: string, operation: Operation): void;
  finish(id: string): void;
  isInFlight(id: string): boolean;
  /** Ends the sandbox; the first reason stays. */
  end(reason: SandboxEnd, why?: string): void;
  /** Throws when the sandbox ended. */
  requireAlive(): void;
};

/** How an operation is told that the sandbox is gone. */
const endFailures = {
  destroyed: ['RESOURCE_NOT_FOUND', 'The sandbox was deleted.'],
  memory: ['RESOURCE_NOT_FOUND', 'The sandbox ran out of memory and is gone.'],
  crashed: ['RESOURCE_NOT_FOUND', 'The sandbox ended unexpectedly and is gone.'],
  misbehaved: [
    'RESOURCE_NOT_FOUND',
    'The sandbox was ended because code in it interfered with its supervisor.',
  ],
} as const satisfies Record<SandboxEnd, readonly [FailureCode, string]>;

export function endFailure(reason: SandboxEnd): SandboxFailure {
  const [code, message] = endFailures[reason];
  return new SandboxFailure(code, { message });
}

/** Text from the guest, short and on one line. */
export function quoted(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ').slice(0, 300);
}

// The agent's greeting has no id, as it answers nothing.
const GREETING = '';

/** One agent's life as the host sees it: what is in flight with it, and how it ends; `whyExited` when it does by itself. */
export function createGuestSession(
  guest: Guest,
  log: Log,
  whyExited: () => SandboxEnd = () => 'crashed',
): GuestSession {
  const operations = new Map<string, Operation>();
  let endReason: SandboxEnd | undefined;

  const end = (reason: SandboxEnd, why?: string) => {
    if (endReason !== undefined) return;
    endReason = reason;
    if (why !== undefined) log.warn('sandbox ended', { reason, why });
    channel.close();
    guest.kill();
  };
  const channel = createGuestChannel({
    input: guest.input,
    output: guest.output,
    onEvent(event, lineBytes) {
      const operation = operations.get('id' in event ? event.id : GREETING);
      if (!operation?.take(event, lineBytes)) end('misbehaved', `unexpected event: ${event.event}`);
    },
    onGarbage: (why) => end('misbehaved', why),
  });
  const ready = new Promise<void>((resolve, reject) => {
    operations.set(GREETING, {
      take(event) {
        operations.delete(GREETING);
        resolve();
        return event.event === 'hello';
      },
      sandboxEnded: (reason) => reject(endFailure(reason)),
    });
  });
  const ended = guest.exited.then(() => {
    end(whyExited(), 'the agent exited');
    const reason = endReason ?? 'crashed';
    for (const operation of [...operations.values()]) operation.sandboxEnded(reason);
    return reason;
  });

  return {
    ready,
    ended,
    send: channel.send,
    begin: (id, operation) => operations.set(id, operation),
    finish: (id) => operations.delete(id),
    isInFlight: (id) => operations.has(id),
    end,
    requireAlive() {
      if (endReason !== undefined) throw endFailure(endReason);
    },
  };
}
