import { existsSync, readFileSync } from 'node:fs';

/** The modules of the agent, as they lie in src/engine/guest; `agent` is the one that is started. */
export const guestModules = [
  'agent',
  'files',
  'forwarder',
  'kernel',
  'output',
  'processes',
  'runs',
  'session',
  'settings',
  'terminal',
  'watch',
] as const;

/** Their sources in that order; they lie beside the bundle when built, and beside this folder in development. */
export function readGuestModules(): string[] {
  const built = new URL('./guest/', import.meta.url);
  const folder = existsSync(built) ? built : new URL('../guest/', import.meta.url);
  return guestModules.map((name) => readFileSync(new URL(`${name}.py`, folder), 'utf8'));
}
