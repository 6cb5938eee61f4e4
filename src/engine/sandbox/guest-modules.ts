import { existsSync, readFileSync } from 'node:fs';

/** Modules in src/engine/guest that run inside; `agent` is the one that is started. */
export const agentModules = [
  'agent',
  'artifacts',
  'files',
  'forwarder',
  'kernel',
  'output',
  'places',
  'processes',
  'runs',
  'session',
  'settings',
  'shield',
  'supervisors',
  'terminal',
  'tracebacks',
  'watch',
] as const;

/** Those that make a sandbox from outside, where bubblewrap does not. */
export const makerModules = ['directory', 'landlock', 'macos', 'namespaces', 'rights', 'seatbelt'] as const;

export const guestModules = [...agentModules, ...makerModules] as const;

/** Their sources in that order; they lie beside the bundle when built, and beside this folder in development. */
export function readGuestModules(): string[] {
  const built = new URL('./guest/', import.meta.url);
  const folder = existsSync(built) ? built : new URL('../guest/', import.meta.url);
  return guestModules.map((name) => readFileSync(new URL(`${name}.py`, folder), 'utf8'));
}
