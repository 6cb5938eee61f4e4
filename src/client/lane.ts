import { setMaxListeners } from 'node:events';
import PQueue from 'p-queue';
import { SandboxFailure } from '../contract/failures.ts';
import { type FairOptions, FairQueue, type QueueEntry } from './fair-queue.ts';
import type { Governor } from './governor.ts';
import { URGENT } from './operations.ts';

/** A caller's place in a lane. */
export type Ticket = {
  priority: number;
  key: string;
  front: boolean;
  signal: AbortSignal;
  /** On the lane's clock: an attempt that could not start by then is refused instead. */
  deadlineMs: number;
  /** Hears, at most twice a second, what it waits for. */
  progress(message: string): void;
};

export type Lane = {
  /** Runs one attempt, told when it was sent on the lane's clock, when its turn has come and the governor lets it; rejects with a `SandboxFailure` otherwise. */
  attempt<T>(ticket: Ticket, send: (sentMs: number) => Promise<T>): Promise<T>;
  /** Looks again whether the governor lets anything go. */
  pump(): void;
  readonly size: number;
  close(): void;
};

type Waiting = QueueEntry & { ticket: Ticket; reject(failure: SandboxFailure): void; onAbort(): void };

type LaneOptions = {
  governor: Governor;
  concurrency: number;
  /** How many may wait; what comes after is refused, so that a flood costs the caller and not the server. */
  maxQueued?: number;
  now?: () => number;
  setTimer?: (run: () => void, delayMs: number) => () => void;
};

/** The queue is bounded by count: with bodies of 16 KiB a full lane is 16 MiB. */
const MAX_QUEUED = 1_000;
/** Often enough to be seen to move, and no flood of notifications. */
const PROGRESS_MS = 500;

function realTimer(run: () => void, delayMs: number): () => void {
  const timer = setTimeout(run, Math.min(delayMs, 2 ** 31 - 1));
  return () => clearTimeout(timer);
}

/** One rate limit's queue: paused exactly while its governor says "not yet", so that no slot is held by a wait. */
export function createLane({
  governor,
  concurrency,
  maxQueued = MAX_QUEUED,
  now = () => performance.now(),
  setTimer = realTimer,
}: LaneOptions): Lane {
  // p-queue makes its queue itself and shows it to nobody; the lane has to look into it, so the class hands it over.
  let line = new FairQueue<Waiting>();
  const queue = new PQueue<FairQueue<Waiting>, FairOptions<Waiting>>({
    concurrency,
    queueClass: class extends FairQueue<Waiting> {
      constructor() {
        super();
        line = this;
      }
    },
  });
  let cancelWake = () => {};
  let closed = false;

  const stopListening = ({ ticket, onAbort }: Waiting) => ticket.signal.removeEventListener('abort', onAbort);

  const drop = (entry: Waiting, failure: SandboxFailure) => {
    line.leave(entry);
    entry.reject(failure);
  };

  const refuse = (entry: Waiting, failure: SandboxFailure) => {
    stopListening(entry);
    drop(entry, failure);
  };

  const tell = () => {
    const waitMs = governor.wait(false);
    const why = whatFor[governor.reason() ?? 'slots'];
    const seconds = waitMs > 0 && Number.isFinite(waitMs) ? `, ${Math.ceil(waitMs / 1000)} s left` : '';
    for (const [ahead, { ticket }] of line.waiting.entries())
      ticket.progress(`${why}${seconds}, ${ahead} ahead in the queue`);
  };

  const expire = () => {
    for (const entry of line.waiting) {
      if (now() >= entry.ticket.deadlineMs) refuse(entry, refusal(governor, line.size));
    }
  };

  const pump = () => {
    cancelWake();
    if (closed || line.size === 0) return;
    const waitMs = governor.wait((line.nextPriority ?? 0) >= URGENT);
    if (waitMs === 0) queue.start();
    else queue.pause();
    // Starting a job pumps again from inside; what the last look saw is what counts.
    if (line.size === 0) return;
    cancelWake();
    cancelWake = setTimer(look, waitMs === 0 ? PROGRESS_MS : Math.min(waitMs, PROGRESS_MS));
  };

  const look = () => {
    expire();
    tell();
    pump();
  };

  return {
    attempt: (ticket, send) =>
      new Promise((resolve, reject) => {
        if (closed || ticket.signal.aborted) return reject(cancelled());
        if (line.size >= maxQueued) {
          const retryAfterSeconds = Math.ceil(governor.etaMs(line.size) / 1000) || 1;
          return reject(new SandboxFailure('QUEUE_FULL', { retryAfterSeconds }));
        }
        if (now() + governor.etaMs(ticket.front || ticket.priority > 0 ? 0 : line.size) > ticket.deadlineMs) {
          return reject(refusal(governor, line.size));
        }
        const entry: Waiting = {
          key: ticket.key,
          front: ticket.front,
          ticket,
          reject,
          run: undefined,
          band: undefined,
          // The signal has dropped its listeners by itself when it tells them.
          onAbort: () => drop(entry, cancelled()),
        };
        // One signal may stand for a thousand calls; that many listeners are meant.
        setMaxListeners(0, ticket.signal);
        ticket.signal.addEventListener('abort', entry.onAbort, { once: true });
        const job = async () => {
          stopListening(entry);
          const sentMs = now();
          governor.onSend(sentMs);
          pump();
          try {
            resolve(await send(sentMs));
          } catch (error) {
            reject(error);
          } finally {
            pump();
          }
        };
        queue.pause();
        void queue.add(job, { id: '', priority: ticket.priority, entry });
        pump();
      }),
    pump,
    get size() {
      return line.size;
    },
    close() {
      closed = true;
      cancelWake();
      for (const entry of line.waiting) refuse(entry, cancelled());
    },
  };
}

const whatFor = {
  'rate limited': 'rate limited by the sandbox API',
  unavailable: 'waiting out an outage of the sandbox API',
  slots: 'waiting for other calls to end',
} as const;

function cancelled(): SandboxFailure {
  return new SandboxFailure('CANCELLED', { outcome: 'not_performed' });
}

/** Why a call cannot be served in its time; when nothing is limited, all slots are held by long runs. */
function refusal(governor: Governor, ahead: number): SandboxFailure {
  const retryAfterSeconds = Math.max(1, Math.ceil(governor.etaMs(ahead) / 1000));
  switch (governor.reason()) {
    case 'rate limited':
      return new SandboxFailure('RATE_LIMIT_EXCEEDED', { retryAfterSeconds });
    case 'unavailable':
      return new SandboxFailure('SERVICE_UNAVAILABLE', { retryAfterSeconds });
    case undefined:
      return new SandboxFailure('QUEUE_FULL', { retryAfterSeconds });
  }
}
