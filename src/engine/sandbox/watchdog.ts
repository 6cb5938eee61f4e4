import {
  countFiles,
  descendants,
  killProcess,
  proportionalBytes as measureProportional,
  residentBytes,
} from './process-tree.ts';

export type Watchdog = {
  runStarted(): void;
  runEnded(): void;
  /** Whether a process was killed for its memory since then, on the clock of `performance.now()`. */
  killedSince(timeMs: number): boolean;
  stop(): void;
};

type WatchdogOptions = {
  /** The process outside whose descendants are the sandbox. */
  rootPid: number;
  /** Spared, as the sandbox would end with it. */
  agentPid(): number | undefined;
  limitBytes: number;
  /** In its own places; the names of empty files are kernel memory that belongs to no process. */
  maxFiles?: number;
  /** How many of its processes the kernel has killed for their memory, where it does. */
  memoryKills?: (() => number) | undefined;
  /** Nothing else is left to kill. */
  onAgentOverLimit(): void;
  /** How often it looks while a run is in flight, and while only background processes can grow. */
  busyPollMs?: number;
  idlePollMs?: number;
  /** Takes the kernel long, so that nothing here may wait for it. */
  proportionalBytes?(pid: number): Promise<number | undefined>;
};

type Size = { pid: number; bytes: number };

/** Some 15 forks that share a gigabyte of small pages; what is not measured by then counts in full, lest growth go unseen. */
const MEASURING_MS = 250;
/** Code can keep the kernel from measuring a process while another one grows: by then all count in full. */
const OVERDUE_MS = 500;

/**
 * Kills the largest processes of a sandbox that holds more memory than it may; needs neither rights nor cgroups. Where
 * there are those, the kernel is ahead of it with what grows faster than it looks, and with memory of no process.
 */
export function createWatchdog(options: WatchdogOptions): Watchdog {
  // 100 ms lets some 0.2 GiB through before the kill; a look at a sandbox costs about 0.1 ms.
  const { rootPid, agentPid, limitBytes, maxFiles, memoryKills = () => 0, onAgentOverLimit } = options;
  const { busyPollMs = 100, idlePollMs = 1000, proportionalBytes = measureProportional } = options;
  let runs = 0;
  let isStopped = false;
  let measuringSinceMs: number | undefined;
  let lastKillMs = Number.NEGATIVE_INFINITY;
  let seenKills = 0;

  const lookForKills = () => {
    const kills = memoryKills();
    if (kills > seenKills) lastKillMs = performance.now();
    seenKills = kills;
  };
  const poll = () => {
    lookForKills();
    const agent = agentPid();
    // Killing does not take them away; only the end of the sandbox does.
    if (maxFiles !== undefined && agent !== undefined && countFiles(agent) > maxFiles)
      return onAgentOverLimit();
    const sizes = descendants(rootPid).map((pid) => ({ pid, bytes: residentBytes(pid) }));
    if (excessOf(sizes) <= 0) return;
    if (measuringSinceMs === undefined) void measure(sizes);
    else if (performance.now() > measuringSinceMs + OVERDUE_MS) killExcess(sizes);
  };
  const excessOf = (sizes: readonly Size[]) => sizes.reduce((sum, { bytes }) => sum + bytes, -limitBytes);
  /** As exactly as it takes to see that all is well. */
  const measure = async (sizes: readonly Size[]) => {
    const sinceMs = performance.now();
    measuringSinceMs = sinceMs;
    let excess = excessOf(sizes);
    const measured = sizes.toSorted(largestFirst);
    for (const size of measured) {
      if (isStopped || excess <= 0 || performance.now() > sinceMs + MEASURING_MS) break;
      const bytes = (await proportionalBytes(size.pid)) ?? size.bytes;
      excess -= size.bytes - bytes;
      size.bytes = bytes;
    }
    measuringSinceMs = undefined;
    if (!isStopped) killExcess(measured);
  };
  const killExcess = (measured: readonly Size[]) => {
    // Of those that ended meanwhile the memory is free, and the pid may be anybody's.
    const living = new Set(descendants(rootPid));
    const sizes = measured.filter(({ pid }) => living.has(pid)).sort(largestFirst);
    const agent = agentPid();
    let excess = excessOf(sizes);
    for (const { pid, bytes } of sizes) {
      if (excess <= 0) return;
      if (pid === agent) continue;
      lastKillMs = performance.now();
      killProcess(pid);
      excess -= bytes;
    }
    if (excess > 0) onAgentOverLimit();
  };
  let timer: NodeJS.Timeout | undefined;
  let everyMs: number | undefined;
  // Not put off by the next of many short runs.
  const pollEvery = (ms: number) => {
    if (ms === everyMs) return;
    everyMs = ms;
    clearInterval(timer);
    timer = setInterval(tick, ms).unref();
  };
  const tick = () => {
    if (runs === 0) pollEvery(idlePollMs);
    poll();
  };
  pollEvery(idlePollMs);

  return {
    runStarted() {
      runs += 1;
      pollEvery(busyPollMs);
    },
    runEnded() {
      runs -= 1;
    },
    killedSince(timeMs) {
      lookForKills();
      return lastKillMs >= timeMs;
    },
    stop() {
      isStopped = true;
      clearInterval(timer);
    },
  };
}

const largestFirst = (one: Size, other: Size) => other.bytes - one.bytes;
