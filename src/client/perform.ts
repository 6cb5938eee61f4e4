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
import type { Answer, Broken, Transport, WireRequest } from './transport.ts';
import { unlessLeft } from './unless-left.ts';

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

/** One attempt among those of an operation. */
type Nth = { body: string | undefined; front: boolean; refusals: number; sent: boolean; isProbe: boolean };

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

  const wireRequest = (
    operation: Operation,
    request: Request,
    body: string | undefined,
    access: Access | undefined,
    call: Call,
  ): WireRequest => {
    const base = access?.host ?? controlPlane;
    const route = operation.route.replace('{id}', encodeURIComponent(request.sandboxId ?? ''));
    const path = request.overSocket ? `${route}/stream` : route;
    const query = request.query === undefined ? '' : `?${new URLSearchParams(request.query)}`;
    const runsCode = operation.safety === 'exec';
    const leftMs = Math.max(1_000, call.deadlineMs - now());
    const isBounded = operation.safety === 'read' || operation.safety === 'idempotent';
    return {
      method: operation.method,
      origin: base.origin,
      path: base.pathname.replace(/\/$/, '') + path + query,
      headers: {
        accept: request.onEvent === undefined ? 'application/json' : 'application/x-ndjson, application/json',
        'user-agent': 'hopx-sandbox-mcp',
        ...(access === undefined ? { 'x-api-key': apiKey } : { authorization: `Bearer ${access.token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body }),
      timeoutMs: isBounded
        ? Math.min(operation.timeoutMs, leftMs)
        : operation.timeoutMs + (request.runMs ?? 0),
      ...(request.onEvent !== undefined && { onEvent: request.onEvent }),
      ...(request.overSocket && { overSocket: true }),
      fresh: operation.safety === 'create',
      ...((runsCode || operation.safety === 'read') && { signal: call.signal }),
    };
  };

  const attempt = async (operation: Operation, request: Request, call: Call, nth: Nth): Promise<Verdict> => {
    const { sandboxId = '' } = request;
    const access = operation.plane === 'agent' ? await credentials.access(sandboxId) : undefined;
    const { lane, governor } = laneFor(operation, sandboxId);
    const queuedAt = now();
    const leaveQueue = queueBytes(nth.body?.length ?? 0, nth.front);
    const ticket = {
      priority: operation.priority,
      key: sandboxId,
      front: nth.front,
      signal: call.signal,
      deadlineMs: call.deadlineMs,
      progress: call.progress,
    };
    return lane
      .attempt(ticket, async (sentMs) => {
        nth.sent = true;
        leaveQueue();
        const queuedMs = now() - queuedAt;
        call.stats.queuedMs += queuedMs;
        call.stats.attempts += 1;
        const reply = await transport.send(wireRequest(operation, request, nth.body, access, call));
        const verdict = classify(operation, readable(reply, request), wallNow());
        // Told before the slot is given back, so that the next in line already meets the pause.
        inform(governor, { sentMs, reply, verdict }, wallNow(), unhintedWaitMs(nth.refusals));
        nth.isProbe = governor.reason() === 'unavailable';
        learn(reply, verdict, sandboxId, access);
        log.debug('attempt', {
          endpoint: `${operation.method} ${operation.route}`,
          attempt: call.stats.attempts,
          verdict: verdict.kind === 'again' ? verdict.why : verdict.kind,
          status: reply.kind === 'answer' ? reply.status : reply.errorCode,
          queued_ms: Math.round(queuedMs),
          ms: Math.round(reply.elapsedMs),
          request_id: 'failure' in verdict ? verdict.failure.facts.requestId : undefined,
        });
        return verdict;
      })
      .finally(leaveQueue);
  };

  /** A read and a run are given up on the wire when their caller leaves; the rest goes on without it. */
  const attemptFor = (operation: Operation, request: Request, call: Call, nth: Nth): Promise<Verdict> => {
    const running = attempt(operation, request, call, nth);
    if (operation.safety === 'read' || operation.safety === 'exec') return running;
    return unlessLeft(running, {
      isSent: () => nth.sent,
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

  const learn = (reply: Answer | Broken, verdict: Verdict, sandboxId: string, access: Access | undefined) => {
    if (verdict.kind === 'result') budget.deposit();
    if (verdict.kind === 'again' && verdict.why === 'auth' && access) {
      credentials.invalidate(sandboxId, access.token);
    }
    const skewMs = reply.kind === 'answer' ? clockSkewMs(reply.headers, wallNow()) : undefined;
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
      const nth = { body, front: tries > 1, refusals: repeats.refusals, sent: false, isProbe: false };
      const verdict = await attemptFor(operation, request, call, nth).catch((error: unknown) => {
        // The lane has no time for another attempt; why there had to be one says more.
        const isRefused = error instanceof SandboxFailure && !nth.sent && error.code !== 'CANCELLED';
        throw isRefused && last !== undefined ? last.with(error.facts) : error;
      });
      if (verdict.kind === 'result') return verdict;
      const failure = verdict.failure.with({ attempts: tries });
      last = failure;
      if (verdict.kind !== 'again') throw failure;
      const next = repeats.next({ ...verdict, failure }, call.deadlineMs - now(), nth.isProbe);
      if ('giveUp' in next) throw next.giveUp;
      if (next.waitMs > 0) await pause(next.waitMs, failure, call);
    }
  };
}

function readable(reply: Answer | Broken, { isReply }: Request): Answer | Broken {
  if (reply.kind === 'broken' || reply.status >= 300 || isReply === undefined || isReply(reply.body))
    return reply;
  return { ...reply, body: undefined };
}

function inform(
  governor: Governor,
  { sentMs, reply, verdict }: { sentMs: number; reply: Answer | Broken; verdict: Verdict },
  nowMs: number,
  unhintedMs: number,
): void {
  const facts = reply.kind === 'answer' ? rateFacts(reply.headers, nowMs) : undefined;
  const isRefused = verdict.kind === 'again' && verdict.why === 'rate';
  governor.onAnswer({ sentMs, counted: !isRefused && (reply.kind === 'answer' || reply.sent), facts });
  if (isRefused) {
    governor.onThrottle(verdict.waitMs ?? unhintedMs, verdict.policy);
  } else if (verdict.kind === 'unknown' || (verdict.kind === 'again' && verdict.why !== 'auth')) {
    governor.onFault();
  } else {
    governor.onSuccess();
  }
}
