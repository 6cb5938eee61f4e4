import type { Clock } from '../../src/engine/clock.ts';

/** A clock that stands still until the test moves it. */
export function manualClock(startMs = Date.UTC(2030, 0, 1)): Clock & {
  advance(ms: number): void;
  /** Moves the time without calling what is due, as a machine does that slept. */
  sleep(ms: number): void;
  pending(): number;
} {
  let nowMs = startMs;
  const alarms = new Set<{ timeMs: number; run: () => void }>();
  return {
    now: () => nowMs,
    at(timeMs, run) {
      const alarm = { timeMs, run };
      alarms.add(alarm);
      return () => void alarms.delete(alarm);
    },
    sleep(ms) {
      nowMs += ms;
    },
    advance(ms) {
      nowMs += ms;
      for (const alarm of alarms) {
        if (alarm.timeMs > nowMs) continue;
        alarms.delete(alarm);
        alarm.run();
      }
    },
    pending: () => alarms.size,
  };
}
