import type { HopxClient } from '../client/hopx-client.ts';
import { type Call, ownCall } from '../contract/call.ts';
import { isGone, type NextStep, SandboxFailure } from '../contract/failures.ts';
import { type SandboxReply, type TimedCreateRequest, WORKDIR } from '../contract/hopx.ts';
import { type Deletion, languages, type Sandbox } from '../contract/results.ts';
import type { Log } from '../log.ts';
import { createExecutions, type Executed, type ExecuteInput } from './executions.ts';

/** What a sandbox is asked to be; a template is named by its name or its id. */
export type CreateInput = {
  template: string;
  timeoutSeconds?: number | undefined;
  internetAccess?: boolean | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  region?: string | undefined;
};

/** The verbs behind the tools; all of them throw nothing but `SandboxFailure`. */
export type Sandboxes = {
  create(input: CreateInput, call: Call): Promise<Sandbox>;
  /** Runs code at most once; without a sandbox id in this session's default sandbox, made on first use. */
  execute(input: ExecuteInput, call: Call): Promise<Executed>;
  /** Waits on for a run that was still going. */
  wait(executionId: string, call: Call): Promise<Executed>;
  /** Stops a run that was still going. */
  cancel(executionId: string, call: Call): Promise<Executed>;
  delete(sandboxId: string, call: Call): Promise<Deletion>;
  list(call: Call): Promise<Sandbox[]>;
  /** Stops every run and deletes every sandbox of this session, within a few seconds. */
  close(): Promise<void>;
};

type SandboxesOptions = {
  /** The client, made on first use: an engine may have to start. */
  connect(): Promise<HopxClient>;
  backend: Sandbox['backend'];
  ttlSeconds: number;
  keepOnExit: boolean;
  outputLimitChars: number;
  log: Log;
  now?: () => number;
};

/** A sandbox that this session made. */
type Own = { env: Readonly<Record<string, string>>; lastUsedMs: number };

const CLOUD_ISOLATION = 'A HopX cloud virtual machine with a kernel of its own.';
const DEFAULT_TEMPLATE = 'code-interpreter';
/** A second less than the process gives everything that it lets go. */
const CLOSE_MS = 8_000;

/** One session's sandboxes and runs; opens nothing before the first verb. */
export function createSandboxes({
  connect,
  backend,
  ttlSeconds,
  keepOnExit,
  outputLimitChars,
  log,
  now = () => performance.now(),
}: SandboxesOptions): Sandboxes {
  const own = new Map<string, Own>();
  let defaultSandbox: Promise<Sandbox> | undefined;
  let defaultId: string | undefined;
  let used = false;

  const client = () => {
    used = true;
    return connect();
  };

  const describe = (reply: SandboxReply): Sandbox => ({
    sandbox_id: reply.id,
    status: reply.status,
    template: reply.template_name ?? reply.template_id?.toString() ?? DEFAULT_TEMPLATE,
    backend,
    isolation: reply.isolation ?? CLOUD_ISOLATION,
    internet_access: reply.internet_access ?? backend === 'hopx',
    languages: reply.languages ?? languages,
    workdir: WORKDIR,
    created_at: reply.created_at ?? null,
    expires_at: reply.expires_at ?? null,
  });

  /** A quota failure is mended by deleting, so it names what of ours could go, the longest idle first. */
  const withOwnSandboxes = (failure: SandboxFailure): SandboxFailure => {
    if (failure.code !== 'RESOURCE_LIMIT_ERROR' || own.size === 0) return failure;
    const idle = [...own].sort(([, a], [, b]) => a.lastUsedMs - b.lastUsedMs);
    const open = idle.map(
      ([id, { lastUsedMs }]) => `${id} (idle ${Math.round((now() - lastUsedMs) / 60_000)} min)`,
    );
    const nextSteps: NextStep[] = idle
      .slice(0, 1)
      .map(([id]) => ({ tool: 'delete_sandbox', arguments: { sandbox_id: id }, why: 'idle longest' }));
    const remediation = `Delete a sandbox you no longer need, then make the same call again. Open: ${open.slice(0, 10).join(', ')}.`;
    return new SandboxFailure(failure.code, { ...failure.facts, remediation, nextSteps });
  };

  const create = async (input: CreateInput, call: Call): Promise<Sandbox> => {
    const request: TimedCreateRequest = {
      ...(/^\d+$/.test(input.template) ? { template_id: input.template } : { template_name: input.template }),
      timeout_seconds: input.timeoutSeconds ?? ttlSeconds,
      ...(input.internetAccess !== undefined && { internet_access: input.internetAccess }),
      ...(input.env !== undefined && { env_vars: { ...input.env } }),
      ...(input.region !== undefined && { region: input.region }),
    };
    const api = await client();
    const reply = await api.createSandbox(request, call).catch((error: unknown) => {
      throw error instanceof SandboxFailure ? withOwnSandboxes(error) : error;
    });
    own.set(reply.id, { env: input.env ?? {}, lastUsedMs: now() });
    return describe(reply);
  };

  const forget = (sandboxId: string) => {
    own.delete(sandboxId);
    if (sandboxId !== defaultId) return;
    defaultSandbox = undefined;
    // Whoever else was in it forgets it too, and must not forget its successor.
    defaultId = undefined;
  };

  /** Concurrent first uses share one sandbox; a failed creation is not remembered. */
  const useDefault = async (call: Call): Promise<Sandbox> => {
    const creation = defaultSandbox ?? create({ template: DEFAULT_TEMPLATE }, call);
    const isOurs = defaultSandbox === undefined;
    defaultSandbox = creation;
    try {
      const sandbox = await creation;
      if (defaultSandbox === creation) defaultId = sandbox.sandbox_id;
      return sandbox;
    } catch (error) {
      if (defaultSandbox === creation) defaultSandbox = undefined;
      // Somebody else's cancelled call is no reason for this one to fail.
      if (!isOurs && error instanceof SandboxFailure && error.code === 'CANCELLED') return useDefault(call);
      throw error;
    }
  };

  const executions = createExecutions({
    client,
    outputLimitChars,
    now,
    use(sandboxId) {
      const mine = own.get(sandboxId);
      if (mine !== undefined) mine.lastUsedMs = now();
      return mine?.env ?? {};
    },
    gone: forget,
  });

  const deleteOne = async (sandboxId: string, call: Call): Promise<Deletion> => {
    const { alreadyGone } = await (await client()).deleteSandbox(sandboxId, call);
    forget(sandboxId);
    return { sandbox_id: sandboxId, already_gone: alreadyGone };
  };

  return {
    create,
    async execute(input, call) {
      if (input.sandboxId !== undefined) return executions.start(input, { sandboxId: input.sandboxId }, call);
      const sandbox = await useDefault(call);
      try {
        return await executions.start(input, { sandboxId: sandbox.sandbox_id, sandbox }, call);
      } catch (error) {
        // Its lifetime may have ended since; then nothing ran, and a new one serves as well.
        if (!isGone(error)) throw error;
        const fresh = await useDefault(call);
        return executions.start(input, { sandboxId: fresh.sandbox_id, sandbox: fresh }, call);
      }
    },
    wait: executions.wait,
    cancel: executions.cancel,
    delete: deleteOne,
    async list(call) {
      return (await (await client()).listSandboxes(call)).map(describe);
    },
    async close() {
      executions.cancelAll();
      if (!used) return;
      const api = await connect().catch(() => undefined);
      if (api === undefined) return;
      if (!keepOnExit) {
        const call = ownCall(CLOSE_MS);
        const deletions = await Promise.allSettled([...own.keys()].map((id) => deleteOne(id, call)));
        const failed = deletions.filter((deletion) => deletion.status === 'rejected').length;
        if (failed > 0) log.warn('sandboxes were left behind; their lifetime ends them', { count: failed });
      }
      await api.close();
    },
  };
}
