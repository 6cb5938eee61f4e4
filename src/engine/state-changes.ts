import { SandboxFailure } from '../contract/failures.ts';
import type { LocalSandbox } from './sandbox/local-sandbox.ts';
import type { SandboxInfo } from './sandbox-record.ts';

/** From which state to which, and what the sandbox does on the way. */
const changes = {
  pause: { from: 'running', to: 'paused', act: (sandbox: LocalSandbox) => sandbox.pause() },
  resume: { from: 'paused', to: 'running', act: (sandbox: LocalSandbox) => sandbox.resume() },
  stop: { from: 'running', to: 'stopped', act: (sandbox: LocalSandbox) => sandbox.stop() },
  start: { from: 'stopped', to: 'running', act: (sandbox: LocalSandbox) => sandbox.resume() },
} as const;
export type Change = keyof typeof changes;

/** The way of a change; throws `CONFLICT` where it does not begin, unless the sandbox is there already. */
export function wayOf(change: Change, info: SandboxInfo): (typeof changes)[Change] {
  const way = changes[change];
  if (info.status === way.from || info.status === way.to) return way;
  throw conflict(`Cannot ${change} the sandbox`, info);
}

/** Throws `CONFLICT` while a sandbox is paused or stopped. */
export function requireRunning(info: SandboxInfo): void {
  if (info.status === 'paused') throw conflict('Resume the sandbox first', info);
  if (info.status === 'stopped') throw conflict('Start the sandbox first', info);
}

function conflict(what: string, { id, status }: SandboxInfo): SandboxFailure {
  return new SandboxFailure('CONFLICT', { message: `${what}: it is ${status}`, sandboxId: id });
}
