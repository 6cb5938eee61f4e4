import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Call } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import type { Log } from '../log.ts';
import { classify, type Verdict } from './classify.ts';
import type { Access, Credentials } from './credentials.ts';
import type { Governor } from './governor.ts';
import type { GovernedLane } from './lanes.ts';
import { type Operation, type OperationName, operations } from './operations.ts';
import { clockSkewMs, rateFacts } from './rate-hints.ts';
import { createRepeats, unhintedWaitMs } from './repeats.ts';
import type { RetryBudget } from './retry-budget.ts';
import type { Broken, Reply, Transport } from './transport.ts';
import { unlessLeft } from './unless-left.ts';
import { wireRequest } from './wire-request.ts';

export type Request = {
  /** Which sandbox, where the route names one. */
  sandboxId?: string;
  query?: Readonly<Record<string, string>>;
  body?: unknown;
  /** Whether a success is one of the contract; one that is not counts as unreadable. */
  isReply?(body: unknown): boolean;
  /** Hears what a run prints while it goes on, where the API streams. */
  onEvent?(event: unknown): void;
  /** Over the agent's WebSocket, on the route's `/stream`; the body is its first frame. */
  overSocket?: boolean;
  /** Added to the operation's own time: how long the code may run. */
  runMs?: number;
  /** Told when the caller leaves while an attempt is in flight. */
  onLeave?(): void;
  /** Hears what an attempt came to whose caller had left. */
  onOrphan?(verdict: Verdict): void;
};

export type Perform = (
  name: OperationName,
  request: Request,
  call: Call,
) => Promise<Extract<Verdict, { kind: 'result' }>>;

/** What is known of one attempt, and what is noted of it. */
type Attempt = {
  body: string | undefined;
  front: boolean;
  refusals: number;
  sent: boolean;
  isProbe: boolean;
};

type PerformOptions = {
  controlPlane: URL;
  apiKey: string;
  transport: Transport;
  credentials: Pick<Credentials, 'access' | 'invalidate'>;
  laneFor(operation: Operation, sandboxId: string): GovernedLane;
  budget: RetryBudget;
  log: Log;
  /** Hears how far the server's clock is ahead of ours, in milliseconds. */
  onSkew?: (skewMs: number) => void;
  now?: () => number;
  wallNow?: () => number;
  random?: () => number;
  sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>;
};

/** Bodies that wait, all lanes together; a thousand calls with programs of 8 KiB. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024;

/** Carries an operation through as many attempts as the decision table allows inside the call's deadline. */
export function createPerform({
  controlPlane,
  apiKey,
  transport,
  credentials,
  laneFor,
  budget,
  log,
  onSkew = () => {},
  now = () => performance.now(),
  wallNow = Date.now,
  random = Math.random,
  sleep = (ms, signal) => delay(ms, undefined, { signal }),
}: PerformOptions): Perform {
  let queuedBytes = 0;

  const attempt = async (
    operation: Operation,
    request: Request,
    call: Call,
    tried: Attempt,
  ): Promise<Verdict> => {
    const { sandboxId = '' } = request;
    const access = operation.plane === 'agent' ? await credentials.access(sandboxId) : undefined;
    const { lane, governor } = laneFor(operation, sandboxId);
    const queuedAt = now();
    const leaveQueue = queueBytes(tried.body?.length ?? 0, tried.front);
    const ticket = {
      priority: operation.priority,
      key: sandboxId,
      front: tried.front,
      signal: call.signal,
      deadlineMs: call.deadlineMs,
      progress: call.progress,
    };
    return lane
      .attempt(ticket, async (sentMs) => {
        tried.sent = true;
        leaveQueue();
        const queuedMs = now() - queuedAt;
        call.stats.queuedMs += queuedMs;
        call.stats.attempts += 1;
        const reply = await transport.send(
          wireRequest(operation, request, {
            body: tried.body,
            controlPlane,
            apiKey,
            access,
            call,
            nowMs: now(),
          }),
        );
        const verdict = classify(operation, readable(reply, request), wallNow());
        // Told before the slot is given back, so that the next in line already meets the pause.
        inform(governor, { sentMs, reply, verdict }, wallNow(), unhintedWaitMs(tried.refusals));
        tried.isProbe = governor.reason() === 'unavailable';
        learn(reply, verdict, sandboxId, access);
        log.debug('attempt', {
          endpoint: `${operation.method} ${operation.route}`,
          attempt: call.stats.attempts,
          verdict: verdict.kind === 'again' ? verdict.why : verdict.kind,
          status: reply.kind === 'reply' ? reply.status : reply.errorCode,
          queued_ms: Math.round(queuedMs),
          ms: Math.round(reply.elapsedMs),
          request_id: 'failure' in verdict ? verdict.failure.facts.requestId : undefined,
        });
        return verdict;
      })
      .finally(leaveQueue);
  };

  /** A read and a run are given up on the wire when their caller leaves; the rest goes on without it. */
  const attemptFor = (
    operation: Operation,
    request: Request,
    call: Call,
    tried: Attempt,
  ): Promise<Verdict> => {
    const running = attempt(operation, request, call, tried);
    if (operation.safety === 'read' || operation.safety === 'exec') return running;
    return unlessLeft(running, {
      isSent: () => tried.sent,
      signal: call.signal,
      // Deletions and the like are bounded on the wire.
      ...(operation.safety === 'create' && { leftMs: call.deadlineMs - now() }),
      ...request,
    });
  };

  /** Counts a waiting body until it leaves the queue; refuses what would take too much memory. */
  const queueBytes = (bytes: number, isRepeat: boolean): (() => void) => {
    if (!isRepeat && queuedBytes > 0 && queuedBytes + bytes > MAX_QUEUED_BYTES) {
      throw new SandboxFailure('QUEUE_FULL', { retryAfterSeconds: 1 });
    }
    queuedBytes += bytes;
    let counted = bytes;
    return () => {
      queuedBytes -= counted;
      counted = 0;
    };
  };

  const learn = (reply: Reply | Broken, verdict: Verdict, sandboxId: string, access: Access | undefined) => {
    if (verdict.kind === 'result') budget.deposit();
    if (verdict.kind === 'again' && verdict.why === 'auth' && access) {
      credentials.invalidate(sandboxId, access.token);
    }
    const skewMs = reply.kind === 'reply' ? clockSkewMs(reply.headers, wallNow()) : undefined;
    if (skewMs !== undefined) onSkew(skewMs);
  };

  const pause = async (waitMs: number, failure: SandboxFailure, call: Call) => {
    call.progress(`${failure.message} Trying again.`);
    await sleep(waitMs, call.signal).catch(() => {
      throw new SandboxFailure('CANCELLED', { outcome: 'not_performed' });
    });
  };

  return async (name, request, call) => {
    const operation: Operation = operations[name];
    // One signal may stand for a thousand calls; that many listeners are meant.
    setMaxListeners(0, call.signal);
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const repeats = createRepeats({
      blind: operation.safety === 'create' || operation.safety === 'exec',
      budget,
      random,
    });
    let last: SandboxFailure | undefined;
    for (let tries = 1; ; tries += 1) {
      const tried = { body, front: tries > 1, refusals: repeats.refusals, sent: false, isProbe: false };
      const verdict = await attemptFor(operation, request, call, tried).catch((error: unknown) => {
        // The lane has no time for another attempt; why there had to be one says more.
        const isRefused = error instanceof SandboxFailure && !tried.sent && error.code !== 'CANCELLED';
        throw isRefused && last !== undefined ? last.with(error.facts) : error;
      });
      if (verdict.kind === 'result') return verdict;
      const failure = verdict.failure.with({ attempts: tries });
      last = failure;
      if (verdict.kind !== 'again') throw failure;
      const next = repeats.next({ ...verdict, failure }, call.deadlineMs - now(), tried.isProbe);
      if ('giveUp' in next) throw next.giveUp;
      if (next.waitMs > 0) await pause(next.waitMs, failure, call);
    }
  };
}

function readable(reply: Reply | Broken, { isReply }: Request): Reply | Broken {
  if (reply.kind === 'broken' || reply.status >= 300 || isReply === undefined || isReply(reply.body))
    return reply;
  return { ...reply, body: undefined };
}

function inform(
  governor: Governor,
  { sentMs, reply, verdict }: { sentMs: number; reply: Reply | Broken; verdict: Verdict },
  nowMs: number,
  unhintedMs: number,
): void {
  const facts = reply.kind === 'reply' ? rateFacts(reply.headers, nowMs) : undefined;
  const isRefused = verdict.kind === 'again' && verdict.why === 'rate';
  governor.onAnswer({ sentMs, counted: !isRefused && (reply.kind === 'reply' || reply.sent), facts });
  if (isRefused) {
    governor.onThrottle(verdict.waitMs ?? unhintedMs, verdict.policy);
  } else if (verdict.kind === 'unknown' || (verdict.kind === 'again' && verdict.why !== 'auth')) {
    governor.onFault();
  } else {
    governor.onSuccess();
  }
}
