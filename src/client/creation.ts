import type { Call } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import { type SandboxReply, sandboxReply, type TimedCreateRequest } from '../contract/hopx.ts';
import type { Log } from '../log.ts';
import type { Verdict } from './classify.ts';
import type { Fingerprint, Journal } from './journal.ts';
import { createLifetimes } from './lifetimes.ts';
import { createMarks } from './marks.ts';
import type { Perform } from './perform.ts';
import { type CreateEnd, createReconciler } from './reconcile.ts';

export type Creation = {
  create(request: TimedCreateRequest, call: Call): Promise<SandboxReply>;
  sweep(intent: Fingerprint, owner: string, call: Call): Promise<number>;
  settle(): Promise<void>;
};

type CreationOptions = {
  owner: string;
  journal: Journal;
  perform: Perform;
  ownCall(): Call;
  log: Log;
  serverNow: () => number;
  sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>;
  sandboxes: {
    list(call: Call): Promise<SandboxReply[]>;
    get(sandboxId: string, call: Call): Promise<SandboxReply>;
    delete(sandboxId: string, call: Call): Promise<unknown>;
  };
  /** Takes over what a new sandbox is reached by; throws when it must not be used. */
  accept(sandbox: SandboxReply): void;
  /** Deletions that are under way, each of which makes room. */
  deletions: ReadonlySet<Promise<unknown>>;
};

/** States in which a new sandbox will never run; HopX's own tests meet them after a 201. */
const STILLBORN = new Set(['error', 'failed']);

/** Creating on the wire: exactly one usable sandbox, or none. */
export function createCreation(options: CreationOptions): Creation {
  const { perform, sandboxes, ownCall, accept, deletions } = options;
  const known = new Set<string>();
  const marks = createMarks(options);

  const reconciler = createReconciler({
    ...options,
    lifetimes: createLifetimes(),
    isKnown: (sandboxId) => known.has(sandboxId),
    api: {
      ...sandboxes,
      post: async (body, call, onOrphan) => {
        let hasLeft = false;
        const onLeave = () => {
          hasLeft = true;
        };
        try {
          const request = { body, onLeave, onOrphan: (verdict: Verdict) => onOrphan(endOf(verdict)) };
          return endOf(await perform('createSandbox', request, call));
        } catch (error) {
          const end = endOfFailure(error);
          return hasLeft && end.kind === 'doubt' ? { ...end, kind: 'abandoned' } : end;
        }
      },
      markOf: marks.of,
    },
  });

  const createUsable = async (request: TimedCreateRequest, call: Call): Promise<SandboxReply> => {
    const sandbox = await reconciler.create(request, call);
    known.add(sandbox.id);
    try {
      if (STILLBORN.has(sandbox.status)) {
        const message = `The sandbox was created in the state "${sandbox.status}" and was deleted again.`;
        throw new SandboxFailure('SERVICE_UNAVAILABLE', { message, endpoint: 'POST /v1/sandboxes' });
      }
      accept(sandbox);
      void marks.ensure(sandbox.id);
      return sandbox;
    } catch (error) {
      await sandboxes.delete(sandbox.id, ownCall()).catch(() => {});
      throw error;
    }
  };

  return {
    async create(request, call) {
      try {
        return await createUsable(request, call);
      } catch (error) {
        const isFull = error instanceof SandboxFailure && error.code === 'RESOURCE_LIMIT_ERROR';
        if (!isFull || deletions.size === 0) throw error;
        await Promise.all(deletions);
        return createUsable(request, call);
      }
    },
    sweep: reconciler.sweep,
    settle: reconciler.settle,
  };
}

function endOf(verdict: Verdict): CreateEnd {
  if (verdict.kind !== 'result') return endOfFailure(verdict.failure);
  const reply = sandboxReply.safeParse(verdict.body).data;
  if (reply !== undefined) return { kind: 'made', reply };
  const message = 'The answer to the creation does not name a sandbox.';
  return { kind: 'doubt', failure: new SandboxFailure('INVALID_RESPONSE', { message, outcome: 'unknown' }) };
}

function endOfFailure(error: unknown): CreateEnd {
  const failure =
    error instanceof SandboxFailure ? error : new SandboxFailure('INTERNAL_ERROR', { cause: error });
  if (failure.facts.outcome !== 'unknown') return { kind: 'nothing', failure };
  return { kind: 'doubt', failure };
}
