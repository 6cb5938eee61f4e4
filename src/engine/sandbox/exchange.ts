import { type FailureCode, SandboxFailure } from '../../contract/failures.ts';
import type { GuestRequest } from './guest-channel.ts';
import type { GuestEvent } from './guest-events.ts';
import { endFailure, type GuestSession, quoted } from './guest-session.ts';
import type { Timers } from './timers.ts';

export type ExchangeDeps = { session: GuestSession; timers: Timers };

/** Ample for the largest file that is read in one piece; an agent that is silent for so long is stuck. */
const ANSWER_MS = 30_000;

/** Sends one request and hears its events until one is the last; those that do not belong end the sandbox. */
export function exchange(
  { session, timers }: ExchangeDeps,
  request: GuestRequest,
  take: (event: GuestEvent) => 'more' | 'last' | 'stray',
): Promise<void> {
  session.requireAlive();
  const { id } = request;
  return new Promise((resolve, reject) => {
    const giveUp = timers.after(ANSWER_MS, () => session.end('crashed', 'the agent did not answer'));
    const settle = (finish: () => void) => {
      giveUp();
      session.finish(id);
      finish();
    };
    session.begin(id, {
      take(event) {
        if (event.event === 'failed') {
          const path = 'path' in request ? request.path : '';
          settle(() => reject(fileFailure(event.code, path, event.message)));
          return true;
        }
        const verdict = take(event);
        if (verdict === 'last') settle(resolve);
        return verdict !== 'stray';
      },
      sandboxEnded: (reason) => settle(() => reject(endFailure(reason))),
    });
    session.send(request);
  });
}

const inWords: Partial<Record<FailureCode, (path: string) => string>> = {
  FORBIDDEN: (path) => `Path not allowed: ${path}`,
  RESOURCE_NOT_FOUND: (path) => `File not found: ${path}`,
};

/** A failed file operation in HopX's words, which its SDKs look for. */
export function fileFailure(
  code: Extract<GuestEvent, { event: 'failed' }>['code'],
  path: string,
  why: string,
): SandboxFailure {
  const message = inWords[code]?.(path) ?? (path === '' ? quoted(why) : `${path}: ${quoted(why)}`);
  return new SandboxFailure(code, { message });
}
