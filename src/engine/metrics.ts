/** What one sandbox's agent did, as HopX's `/metrics` tell it. */
export type Metrics = {
  note(route: string, elapsedMs: number, isError: boolean): void;
  /** Counts an execution; the answer says that it ended. */
  began(): () => void;
  snapshot(nowMs: number): Record<string, unknown>;
};

/** Enough for a percentile that says something. */
const MAX_DURATIONS = 200;

type Route = { count: number; durations: number[] };

/** Counts from nothing, since `startedAtMs`. */
export function createMetrics(startedAtMs: number): Metrics {
  const routes = new Map<string, Route>();
  let errors = 0;
  let executions = 0;
  let active = 0;

  const perRoute = (tell: (route: Route) => number) =>
    Object.fromEntries([...routes].map(([name, route]) => [name, tell(route)]));

  return {
    note(name, elapsedMs, isError) {
      const route = routes.get(name) ?? { count: 0, durations: [] };
      routes.set(name, route);
      route.count += 1;
      route.durations.push(elapsedMs);
      if (route.durations.length > MAX_DURATIONS) route.durations.shift();
      if (isError) errors += 1;
    },
    began() {
      executions += 1;
      active += 1;
      return () => {
        active -= 1;
      };
    },
    snapshot: (nowMs) => ({
      uptime_seconds: Math.floor((nowMs - startedAtMs) / 1000),
      total_requests: [...routes.values()].reduce((sum, { count }) => sum + count, 0),
      total_errors: errors,
      error_count: errors,
      active_executions: active,
      total_executions: executions,
      requests_total: perRoute(({ count }) => count),
      avg_duration_ms: perRoute(({ durations }) => average(durations)),
      p95_duration_ms: perRoute(({ durations }) => percentile95(durations)),
    }),
  };
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

function percentile95(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.ceil(sorted.length * 0.95) - 1] ?? 0;
}
