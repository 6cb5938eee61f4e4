import { SandboxFailure } from '../contract/failures.ts';
import type { CreateRequest } from '../contract/hopx.ts';
import type { Log } from '../log.ts';
import type { Clock } from './clock.ts';
import { invalidRequest } from './engine-failure.ts';
import { createEnvVars } from './env-vars.ts';
import type { Launcher } from './sandbox/launcher.ts';
import { goneFailure, type LiveSandbox, newSandboxId, type SandboxInfo } from './sandbox-record.ts';
import { selectTemplate } from './templates.ts';

type ListQuery = { limit: number; cursor: number; status?: string | undefined; region?: string | undefined };

export type ControlPlane = {
  /** Throws `RESOURCE_LIMIT_ERROR` when the quota is used up; creations in flight count. */
  create(request: CreateRequest): Promise<SandboxInfo>;
  /** What is known of a sandbox; throws `RESOURCE_NOT_FOUND`, or `SANDBOX_EXPIRED` when its time was up. */
  get(id: string): SandboxInfo;
  /** A sandbox to work in; throws as `get`, and `RESOURCE_NOT_FOUND` for one that ended by itself. */
  getLive(id: string): LiveSandbox;
  /** In order of creation, those after `cursor`. */
  list(query: ListQuery): { sandboxes: readonly SandboxInfo[]; hasMore: boolean };
  /** Resolves once nothing of the sandbox is left; throws as `get`. */
  delete(id: string): Promise<void>;
  /** Resolves once no sandbox is left; none can be created any more. */
  close(): Promise<void>;
};

type ControlPlaneDeps = {
  launcher: Pick<Launcher, 'launch'>;
  clock: Clock;
  log: Log;
  maxSandboxes: number;
  /** Lifetime of a sandbox created without `timeout_seconds`; without this it lives until deleted, as on HopX. */
  defaultTtlSeconds?: number | undefined;
};

/** So many sandboxes that ended by themselves are remembered, well below 1 KB each, to answer why they are gone. */
const MAX_REMEMBERED = 1000;

/** The last second that RFC 3339 can write. */
const LAST_MOMENT_MS = Date.UTC(9999, 11, 31, 23, 59, 59);

/** Which sandboxes live, until when, and how many there may be. */
export function createControlPlane(deps: ControlPlaneDeps): ControlPlane {
  const { launcher, clock, log, maxSandboxes } = deps;
  const live = new Map<string, LiveSandbox>();
  const remembered = new Map<string, SandboxInfo>();
  const dying = new Set<LiveSandbox>();
  let lastSerial = 0;
  let isClosed = false;

  function admit(request: CreateRequest): LiveSandbox {
    if (isClosed) throw new SandboxFailure('SERVICE_UNAVAILABLE', { message: 'The engine is stopping' });
    const template = selectTemplate(request);
    const createdAtMs = clock.now();
    const timeoutSeconds = request.timeout_seconds ?? deps.defaultTtlSeconds ?? null;
    const expiresAtMs = timeoutSeconds === null ? null : createdAtMs + timeoutSeconds * 1000;
    if (expiresAtMs !== null && expiresAtMs > LAST_MOMENT_MS) {
      throw invalidRequest("field 'timeout_seconds': the sandbox would expire after the year 9999");
    }
    const env = createEnvVars(request.env_vars ?? {});
    if (live.size >= maxSandboxes) {
      const message = `Sandbox limit reached (${live.size}/${maxSandboxes})`;
      throw new SandboxFailure('RESOURCE_LIMIT_ERROR', { message });
    }
    const id = newSandboxId(createdAtMs);
    const region = request.region ?? 'local';
    const internetAccess = request.internet_access ?? false;
    const serial = ++lastSerial;
    const entry: LiveSandbox = {
      info: {
        id,
        serial,
        template,
        region,
        timeoutSeconds,
        createdAtMs,
        expiresAtMs,
        internetAccess,
        status: 'creating',
      },
      env,
      sandbox: launcher.launch({ id, internetAccess }),
      cancelExpiry: expiresAtMs === null ? () => {} : clock.at(expiresAtMs, expireOverdue),
    };
    live.set(id, entry);
    return entry;
  }

  /** Runs before every answer too, so that none depends on a timer that is late. */
  function expireOverdue(): void {
    const isOverdue = ({ expiresAtMs }: SandboxInfo) => expiresAtMs !== null && clock.now() >= expiresAtMs;
    for (const info of remembered.values()) if (isOverdue(info)) info.status = 'expired';
    for (const entry of live.values()) if (isOverdue(entry.info)) end(entry, 'expired');
  }

  /** From here on the sandbox is gone for every caller; what is left of it goes in the background. */
  function end(entry: LiveSandbox, status: 'error' | 'expired' | 'deleted'): void {
    const { info } = entry;
    live.delete(info.id);
    entry.cancelExpiry();
    info.status = status;
    if (status !== 'deleted') remember(info);
    destroy(entry).catch((error: unknown) => {
      log.error('sandbox not destroyed', { sandbox_id: info.id, error: String(error) });
    });
  }

  function remember(info: SandboxInfo): void {
    log.info('sandbox ended', { sandbox_id: info.id, status: info.status, ended_by: info.endedBy });
    remembered.set(info.id, info);
    const [oldest] = remembered.keys();
    if (remembered.size > MAX_REMEMBERED && oldest !== undefined) remembered.delete(oldest);
  }

  async function destroy(entry: LiveSandbox): Promise<void> {
    dying.add(entry);
    const sandbox = await entry.sandbox.catch(() => undefined);
    await sandbox?.destroy();
    dying.delete(entry);
  }

  function get(id: string): SandboxInfo {
    expireOverdue();
    const info = live.get(id)?.info ?? remembered.get(id);
    if (info === undefined || info.status === 'expired') throw goneFailure(info);
    return info;
  }

  return {
    async create(request) {
      expireOverdue();
      const entry = admit(request);
      const { info } = entry;
      try {
        const sandbox = await entry.sandbox;
        void sandbox.ended.then((reason) => {
          if (!live.has(info.id)) return;
          info.endedBy = reason;
          end(entry, 'error');
        });
      } catch (error) {
        if (live.has(info.id)) end(entry, 'deleted');
        throw error;
      }
      // While it was being made it may have been deleted, or its time may have run out.
      get(info.id).status = 'running';
      return info;
    },

    get,

    getLive(id) {
      const info = get(id);
      const entry = live.get(id);
      if (entry === undefined) throw goneFailure(info);
      return entry;
    },

    list({ limit, cursor, status, region }) {
      expireOverdue();
      const found = [...[...live.values()].map(({ info }) => info), ...remembered.values()]
        .filter((info) => info.status !== 'expired' && info.serial > cursor)
        .filter((info) => status === undefined || info.status === status)
        .filter((info) => region === undefined || info.region === region)
        .sort((one, other) => one.serial - other.serial);
      return { sandboxes: found.slice(0, limit), hasMore: found.length > limit };
    },

    async delete(id) {
      get(id);
      remembered.delete(id);
      const entry = live.get(id);
      if (entry === undefined) return;
      end(entry, 'deleted');
      await destroy(entry);
    },

    async close() {
      isClosed = true;
      for (const entry of live.values()) end(entry, 'deleted');
      await Promise.allSettled([...dying].map(destroy));
    },
  };
}
