import type { ServerNotification } from '@modelcontextprotocol/sdk/types.js';

/** Hosts show each message for a moment; more than two a second nobody reads. */
const INTERVAL_MS = 500;

/** Sends progress messages for one call, at most two a second; does nothing when the caller gave no token. */
export function createProgress(
  progressToken: string | number | undefined,
  notify: (notification: ServerNotification) => Promise<void>,
  now: () => number,
): (message: string) => void {
  if (progressToken === undefined) return () => {};
  let progress = 0;
  let lastMs = -Infinity;
  return (message) => {
    if (now() - lastMs < INTERVAL_MS) return;
    lastMs = now();
    progress += 1;
    notify({ method: 'notifications/progress', params: { progressToken, progress, message } }).catch(
      () => {},
    );
  };
}
