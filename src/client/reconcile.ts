import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Call } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import type { SandboxReply, TimedCreateRequest } from '../contract/hopx.ts';
import type { Log } from '../log.ts';
import type { Fingerprint, Journal } from './journal.ts';
import type { Lifetimes } from './lifetimes.ts';

/** The name under which every sandbox of ours carries its owner, for those that look at it later. */
export const OWNER_VARIABLE = 'HOPX_MCP_OWNER';

type SandboxesApi = {
  /** One create on the wire; `onOrphan` hears what came of it when the caller had left by then. */
  post(request: TimedCreateRequest, call: Call, onOrphan: (end: CreateEnd) => void): Promise<CreateEnd>;
  list(call: Call): Promise<SandboxReply[]>;
  get(sandboxId: string, call: Call): Promise<SandboxReply>;
  delete(sandboxId: string, call: Call): Promise<unknown>;
  /** Whether a sandbox carries an owner's mark; rejects when it cannot be asked. */
  markOf(sandboxId: string, owner: string, call: Call): Promise<Mark>;
};

/** Whose mark a sandbox carries; `none` proves nothing where the API is not known to keep marks. */
export type Mark = 'ours' | 'foreign' | 'none';

/** A create made a sandbox or none; nobody knows; or its caller left while it was under way. */
export type CreateEnd =
  | { kind: 'made'; reply: SandboxReply }
  | { kind: 'nothing' | 'doubt' | 'abandoned'; failure: SandboxFailure };

type ReconcilerOptions = {
  api: SandboxesApi;
  owner: string;
  lifetimes: Lifetimes;
  journal: Journal;
  /** Ids that this client knows to be in use. */
  isKnown(sandboxId: string): boolean;
  /** A call of the client's own, not ended by any caller. */
  ownCall(): Call;
  log: Log;
  now?: () => number;
  /** Milliseconds since the epoch on the server's clock. */
  serverNow: () => number;
  sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>;
};

type Reconciler = {
  /** A create that is neither doubled nor lost: in doubt it looks, adopts what it finds, or repeats. */
  create(request: TimedCreateRequest, call: Call): Promise<SandboxReply>;
  /** Deletes what a create left behind that ended in doubt, if it can be told for certain; the number deleted. */
  sweep(intent: Fingerprint, owner: string, call: Call): Promise<number>;
  /** Finishes what is open: creates in flight, and the sweep after doubts. */
  settle(): Promise<void>;
};

/** A sandbox that was made shows in the list after a moment; by the last look it is there or was not made. */
const LOOKS_MS = [1_000, 3_000, 8_000];
const MAX_REPEATS = 2;
const SWEEP_AFTER_MS = 60_000;
/** Clocks that agree to the second may disagree about which second it is. */
const TOLERANCE_MS = 5_000;

/** Creates over an API that has no idempotency keys: every create can be told apart in the list of sandboxes. */
export function createReconciler({
  api,
  owner,
  lifetimes,
  journal,
  isKnown,
  ownCall,
  log,
  now = () => performance.now(),
  serverNow,
  sleep = (ms, signal) => delay(ms, undefined, { signal, ref: false }),
}: ReconcilerOptions): Reconciler {
  const open = new Set<Promise<unknown>>();
  const hurry = new AbortController();
  setMaxListeners(0, hurry.signal);

  const track = <T>(work: Promise<T>): Promise<T> => {
    const settled: Promise<unknown> = work.catch(() => {}).finally(() => open.delete(settled));
    open.add(settled);
    return work;
  };

  /** Ours for certain, or as good as: no other mark, and a lifetime that only this create asked for. */
  const isOurs = async (candidate: SandboxReply, intent: Fingerprint, wanted: string, call: Call) => {
    if (isKnown(candidate.id) || candidate.status === 'deleted') return false;
    const known =
      candidate.timeout_seconds == null
        ? await api.get(candidate.id, call).catch(() => candidate)
        : candidate;
    if (known.timeout_seconds !== intent.timeoutSeconds) return false;
    const template = known.template_name ?? String(known.template_id ?? '');
    if (template !== intent.template && String(known.template_id ?? '') !== intent.template) return false;
    const createdMs = Date.parse(known.created_at ?? '');
    if (!Number.isNaN(createdMs) && createdMs < intent.sinceMs - TOLERANCE_MS) return false;
    // A sandbox that cannot be asked may be in use by another server of ours: then nothing is decided here.
    return (await api.markOf(candidate.id, wanted, call)) !== 'foreign';
  };

  const find = async (intent: Fingerprint, wanted: string, call: Call): Promise<SandboxReply[]> => {
    const found: SandboxReply[] = [];
    for (const candidate of await api.list(call)) {
      if (await isOurs(candidate, intent, wanted, call)) found.push(candidate);
    }
    return found.sort((a, b) => (a.created_at ?? '').localeCompare(b.created_at ?? ''));
  };

  const look = async (intent: Fingerprint, call: Call): Promise<SandboxReply | undefined> => {
    const startedMs = now();
    let found: SandboxReply[] | undefined;
    for (const atMs of LOOKS_MS) {
      const waitMs = startedMs + atMs - now();
      if (now() + waitMs > call.deadlineMs) throw new SandboxFailure('REQUEST_TIMEOUT');
      call.progress('The answer to the creation was lost; looking whether the sandbox exists.');
      await sleep(Math.max(0, waitMs), call.signal);
      found = await find(intent, owner, call).catch(() => undefined);
      if (found?.[0] !== undefined) return found[0];
    }
    // Only a list that was read proves that the sandbox is not there.
    if (found === undefined) throw new SandboxFailure('SERVICE_UNAVAILABLE');
    return undefined;
  };

  const sweep = async (intent: Fingerprint, wanted: string, call: Call): Promise<number> => {
    const strays = await find(intent, wanted, call);
    for (const { id } of strays) {
      log.info('deleting a sandbox whose creation was given up', { sandbox_id: id });
      await api.delete(id, call);
    }
    return strays.length;
  };

  /** A create may still finish after it was given up; one more look catches it, at the latest at the end. */
  const sweepLater = (intent: Fingerprint) =>
    track(
      (async () => {
        await sleep(SWEEP_AFTER_MS, hurry.signal).catch(() => {});
        await sweep(intent, owner, ownCall()).catch(() => sweep(intent, owner, ownCall()));
        journal.dropped(intent);
      })()
        .catch((error: unknown) =>
          log.warn('a late sweep failed; the lifetime ends what is left', { error: String(error) }),
        )
        .finally(() => lifetimes.release(intent.timeoutSeconds)),
    );

  /** The create is over, and so is its mark unless something of it may still turn up. */
  const conclude = (intent: Fingerprint, inDoubt: boolean) => {
    if (inDoubt) void sweepLater(intent);
    else lifetimes.release(intent.timeoutSeconds);
  };

  const accept = (intent: Fingerprint, reply: SandboxReply, inDoubt: boolean): SandboxReply => {
    journal.created(intent, reply.id);
    conclude(intent, inDoubt);
    return reply;
  };

  const giveUp = (intent: Fingerprint, failure: SandboxFailure, inDoubt: boolean): SandboxFailure => {
    if (!inDoubt) journal.dropped(intent);
    conclude(intent, inDoubt);
    return inDoubt ? recoverable(failure) : failure;
  };

  const deleteOrphan = (intent: Fingerprint, end: CreateEnd, inDoubt: boolean) => {
    if (end.kind !== 'made') {
      giveUp(intent, end.failure, inDoubt || end.kind === 'doubt');
      return;
    }
    const { id } = accept(intent, end.reply, inDoubt);
    log.info('deleting a sandbox that nobody waits for any more', { sandbox_id: id });
    track(api.delete(id, ownCall())).catch((error: unknown) => {
      log.warn('an abandoned sandbox was not deleted; its lifetime ends it', { error: String(error) });
    });
  };

  const createOnce = async (
    request: TimedCreateRequest,
    intent: Fingerprint,
    call: Call,
  ): Promise<SandboxReply> => {
    for (let repeats = 0; ; repeats += 1) {
      const wasInDoubt = repeats > 0;
      const end = await api.post(request, call, (late) => deleteOrphan(intent, late, wasInDoubt));
      switch (end.kind) {
        case 'made':
          return accept(intent, end.reply, wasInDoubt);
        case 'abandoned':
          throw recoverable(end.failure);
        case 'nothing':
          throw giveUp(intent, end.failure, wasInDoubt);
        case 'doubt': {
          const found = await look(intent, call).catch(() => 'no time' as const);
          if (found === 'no time') throw giveUp(intent, end.failure, true);
          if (found !== undefined) {
            log.info('adopted a sandbox whose creation had lost its answer', { sandbox_id: found.id });
            return accept(intent, found, true);
          }
          if (repeats === MAX_REPEATS) throw giveUp(intent, end.failure, true);
        }
      }
    }
  };

  return {
    create(request, call) {
      const timeoutSeconds = lifetimes.take(request.timeout_seconds);
      const template = request.template_name ?? String(request.template_id ?? '');
      const intent = { timeoutSeconds, template, sinceMs: serverNow() };
      const marked = {
        ...request,
        timeout_seconds: timeoutSeconds,
        env_vars: { ...request.env_vars, [OWNER_VARIABLE]: owner },
      };
      journal.intended(intent);
      return track(createOnce(marked, intent, call));
    },
    sweep,
    async settle() {
      hurry.abort();
      while (open.size > 0) await Promise.all(open);
    },
  };
}

/** Nothing is lost for the caller: whatever was made is deleted when it shows. */
function recoverable(failure: SandboxFailure): SandboxFailure {
  return new SandboxFailure(failure.code, {
    ...failure.facts,
    retryable: true,
    remediation:
      'Make the same call again. Should the sandbox have been created all the same, it is deleted as soon as it shows.',
    nextSteps: [],
  });
}
