import { existsSync, readFileSync } from 'node:fs';

/** The modules that lie in src/engine/guest: of the agent, of which `agent` is started, and what makes sandboxes without bubblewrap. */
export const guestModules = [
  'agent',
  'files',
  'forwarder',
  'kernel',
  'landlock',
  'namespaces',
  'output',
  'places',
  'processes',
  'runs',
  'session',
  'settings',
  'shield',
  'terminal',
  'watch',
] as const;

/** Their sources in that order; they lie beside the bundle when built, and beside this folder in development. */
export function readGuestModules(): string[] {
  const built = new URL('./guest/', import.meta.url);
  const folder = existsSync(built) ? built : new URL('../guest/', import.meta.url);
  return guestModules.map((name) => readFileSync(new URL(`${name}.py`, folder), 'utf8'));
}
