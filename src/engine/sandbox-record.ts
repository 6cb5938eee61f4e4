import { randomInt } from 'node:crypto';
import { SandboxFailure } from '../contract/failures.ts';
import { EngineFailure } from './engine-failure.ts';
import type { EnvVars } from './env-vars.ts';
import type { Metrics } from './metrics.ts';
import type { Processes } from './processes.ts';
import type { LocalSandbox } from './sandbox/local-sandbox.ts';
import type { Template } from './templates.ts';

/** What is known of a sandbox, also after it ended. */
export type SandboxInfo = {
  readonly id: string;
  /** Place in the order of creation, and the cursor of a list that ends here. */
  readonly serial: number;
  readonly template: Template;
  readonly region: string;
  readonly internetAccess: boolean;
  timeoutSeconds: number | null;
  readonly createdAtMs: number;
  expiresAtMs: number | null;
  status: 'creating' | 'running' | 'paused' | 'stopped' | 'error' | 'expired' | 'deleted';
  /** What ended a sandbox in status `error`. */
  endedBy?: string;
};

/** A sandbox from the moment its creation was accepted until it ends. */
export type LiveSandbox = {
  readonly info: SandboxInfo;
  readonly env: EnvVars;
  readonly sandbox: Promise<LocalSandbox>;
  readonly processes: Processes;
  readonly metrics: Metrics;
  cancelExpiry: () => void;
  /** The last change of its state, which the next one waits for. */
  changing: Promise<unknown>;
};

/** HopX's form: ten digits of unix time, then eight lowercase alphanumerics. */
export function newSandboxId(nowMs: number): string {
  const suffix = Array.from({ length: 8 }, () => randomInt(36).toString(36)).join('');
  return `${Math.floor(nowMs / 1000)}${suffix}`;
}

/** Unix milliseconds as HopX writes times, or null for never. */
export function rfc3339(timeMs: number): string;
export function rfc3339(timeMs: number | null): string | null;
export function rfc3339(timeMs: number | null): string | null {
  return timeMs === null ? null : new Date(timeMs).toISOString();
}

/** The answer to calls for a sandbox that is not there, or cannot work any more. */
export function goneFailure(info: SandboxInfo | undefined): SandboxFailure {
  if (info === undefined) return new SandboxFailure('RESOURCE_NOT_FOUND', { message: 'Sandbox not found' });
  if (info.status === 'error') {
    const message = `Sandbox not found: it ended by itself (${info.endedBy})`;
    return new SandboxFailure('RESOURCE_NOT_FOUND', { message, sandboxId: info.id });
  }
  return new EngineFailure(
    'SANDBOX_EXPIRED',
    { message: 'Sandbox expired: it reached the end of its timeout', sandboxId: info.id },
    {
      sandbox_id: info.id,
      status: info.status,
      created_at: rfc3339(info.createdAtMs),
      expires_at: rfc3339(info.expiresAtMs),
    },
  );
}
