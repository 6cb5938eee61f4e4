import { SandboxFailure } from '../contract/failures.ts';
import type { CreateRequest } from '../contract/hopx.ts';
import type { Log } from '../log.ts';
import type { Clock } from './clock.ts';
import { invalidRequest } from './engine-failure.ts';
import { createEnvVars } from './env-vars.ts';
import { createMetrics } from './metrics.ts';
import { createProcesses } from './processes.ts';
import type { Launcher } from './sandbox/launcher.ts';
import { goneFailure, type LiveSandbox, newSandboxId, type SandboxInfo } from './sandbox-record.ts';
import { type Change, requireRunning, wayOf } from './state-changes.ts';
import { selectTemplate } from './templates.ts';

type ListQuery = { limit: number; cursor: number; status?: string | undefined; region?: string | undefined };

export type ControlPlane = {
  /** Throws `RESOURCE_LIMIT_ERROR` when the quota is used up; creations in flight count. */
  create(request: CreateRequest): Promise<SandboxInfo>;
  /** What is known of a sandbox; throws `RESOURCE_NOT_FOUND`, or `SANDBOX_EXPIRED` when its time was up. */
  get(id: string): SandboxInfo;
  /** A sandbox that is there, if it is. */
  find(id: string): LiveSandbox | undefined;
  /** A sandbox that is there, whatever it does; throws as `get`, and `RESOURCE_NOT_FOUND` for one that ended by itself. */
  getLive(id: string): LiveSandbox;
  /** A sandbox to work in; throws as `getLive`, and `CONFLICT` while it is paused or stopped. */
  getRunning(id: string): LiveSandbox;
  /** Resolves once the sandbox is in the state asked for; throws `CONFLICT` where no way leads there. */
  change(id: string, change: Change): Promise<SandboxInfo>;
  /** Makes it live so long from now on. */
  setTimeout(id: string, timeoutSeconds: number): SandboxInfo;
  /** In order of creation, those after `cursor`. */
  list(query: ListQuery): { sandboxes: readonly SandboxInfo[]; hasMore: boolean };
  /** Resolves once no process of the sandbox is left; throws as `get`. */
  delete(id: string): Promise<void>;
  /** Resolves once no sandbox is left; none can be created any more. */
  close(): Promise<void>;
};

type ControlPlaneDeps = {
  launcher: Pick<Launcher, 'launch'>;
  clock: Clock;
  log: Log;
  maxSandboxes: number;
};

/** So many sandboxes that ended by themselves are remembered, well below 1 KB each, to answer why they are gone. */
const MAX_REMEMBERED = 1000;

/** The last second that RFC 3339 can write. */
const LAST_MOMENT_MS = Date.UTC(9999, 11, 31, 23, 59, 59);

/** Which sandboxes live, until when, and how many there may be. */
export function createControlPlane({ launcher, clock, log, maxSandboxes }: ControlPlaneDeps): ControlPlane {
  const live = new Map<string, LiveSandbox>();
  const remembered = new Map<string, SandboxInfo>();
  const dying = new Set<LiveSandbox>();
  let lastSerial = 0;
  let isClosed = false;

  function admit(request: CreateRequest): LiveSandbox {
    if (isClosed) throw new SandboxFailure('SERVICE_UNAVAILABLE', { message: 'The engine is stopping' });
    const template = selectTemplate(request);
    const createdAtMs = clock.now();
    const timeoutSeconds = request.timeout_seconds ?? null;
    const expiresAtMs = timeoutSeconds === null ? null : endOf(timeoutSeconds);
    const env = createEnvVars(request.env_vars ?? {});
    if (live.size >= maxSandboxes) {
      const message = `Sandbox limit reached (${live.size}/${maxSandboxes})`;
      throw new SandboxFailure('RESOURCE_LIMIT_ERROR', { message });
    }
    const id = newSandboxId(createdAtMs);
    const region = request.region ?? 'local';
    const internetAccess = request.internet_access ?? false;
    const serial = ++lastSerial;
    const sandbox = launcher.launch({ id, internetAccess });
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
      sandbox,
      processes: createProcesses({ sandbox, now: clock.now }),
      metrics: createMetrics(createdAtMs),
      cancelExpiry: expiresAtMs === null ? () => {} : clock.at(expiresAtMs, expireOverdue),
      changing: Promise.resolve(),
    };
    live.set(id, entry);
    return entry;
  }

  function endOf(timeoutSeconds: number): number {
    const expiresAtMs = clock.now() + timeoutSeconds * 1000;
    if (expiresAtMs <= LAST_MOMENT_MS) return expiresAtMs;
    throw invalidRequest("field 'timeout_seconds': the sandbox would expire after the year 9999");
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

  function getLive(id: string): LiveSandbox {
    const info = get(id);
    const entry = live.get(id);
    if (entry === undefined) throw goneFailure(info);
    return entry;
  }

  async function makeChange({ info, sandbox }: LiveSandbox, change: Change): Promise<void> {
    const local = await sandbox;
    getLive(info.id);
    const { to, act } = wayOf(change, info);
    if (info.status === to) return;
    // No call is let in on the way down, and none before the sandbox is up.
    if (to !== 'running') info.status = to;
    await act(local);
    getLive(info.id).info.status = to;
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

    find: (id) => live.get(id),

    getLive,

    getRunning(id) {
      const entry = getLive(id);
      requireRunning(entry.info);
      return entry;
    },

    async change(id, name) {
      const entry = getLive(id);
      const made = entry.changing.then(() => makeChange(entry, name));
      entry.changing = made.catch(() => {});
      await made;
      return entry.info;
    },

    setTimeout(id, timeoutSeconds) {
      const entry = getLive(id);
      const expiresAtMs = endOf(timeoutSeconds);
      entry.cancelExpiry();
      entry.cancelExpiry = clock.at(expiresAtMs, expireOverdue);
      return Object.assign(entry.info, { timeoutSeconds, expiresAtMs });
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
      const sandbox = await entry.sandbox.catch(() => undefined);
      await sandbox?.ended;
    },

    async close() {
      isClosed = true;
      for (const entry of live.values()) end(entry, 'deleted');
      await Promise.allSettled([...dying].map(destroy));
    },
  };
}
