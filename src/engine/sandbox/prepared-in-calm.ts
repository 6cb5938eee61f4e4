import type { LocalSandbox } from './local-sandbox.ts';

/** So long after a start whoever waited for it has its answer, and is not to be slowed down on the way to it. */
const CALM_MS = 10;

/** Wraps `start`: what it has started is prepared once none was under way for `calmMs`, as starting comes first. */
export function preparedInCalm<Args extends unknown[], T extends Pick<LocalSandbox, 'prepare'>>(
  start: (...args: Args) => Promise<T>,
  calmMs = CALM_MS,
): (...args: Args) => Promise<T> {
  const unprepared: T[] = [];
  let starting = 0;
  let calm: NodeJS.Timeout | undefined;
  const prepareAll = () => {
    for (const each of unprepared.splice(0)) each.prepare();
  };
  return async (...args) => {
    clearTimeout(calm);
    starting += 1;
    try {
      const sandbox = await start(...args);
      unprepared.push(sandbox);
      return sandbox;
    } finally {
      starting -= 1;
      if (starting === 0) calm = setTimeout(prepareAll, calmMs).unref();
    }
  };
}
