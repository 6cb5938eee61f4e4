import { countFiles, descendants, killProcess, proportionalBytes, residentBytes } from './process-tree.ts';

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
};

/**
 * Kills the largest processes of a sandbox that holds more memory than it may; needs neither rights nor cgroups. Where
 * there are those, the kernel is ahead of it with what grows faster than it looks, and with memory of no process.
 */
export function createWatchdog(options: WatchdogOptions): Watchdog {
  // 100 ms lets some 0.2 GiB through before the kill; a look at a sandbox costs about 0.1 ms.
  const { rootPid, agentPid, limitBytes, maxFiles, memoryKills = () => 0, onAgentOverLimit } = options;
  const { busyPollMs = 100, idlePollMs = 1000 } = options;
  let runs = 0;
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
    const sizes = memoryUse(rootPid, limitBytes);
    let excess = sizes.reduce((sum, { bytes }) => sum + bytes, -limitBytes);
    if (excess <= 0) return;
    for (const { pid, bytes } of sizes) {
      if (pid === agent) continue;
      lastKillMs = performance.now();
      killProcess(pid);
      excess -= bytes;
      if (excess <= 0) return;
    }
    onAgentOverLimit();
  };
  const repeat = (everyMs: number) => setInterval(poll, everyMs).unref();
  let timer = repeat(idlePollMs);
  const pollEvery = (everyMs: number) => {
    clearInterval(timer);
    timer = repeat(everyMs);
  };

  return {
    runStarted() {
      runs += 1;
      if (runs === 1) pollEvery(busyPollMs);
    },
    runEnded() {
      runs -= 1;
      if (runs === 0) pollEvery(idlePollMs);
    },
    killedSince(timeMs) {
      lookForKills();
      return lastKillMs >= timeMs;
    },
    stop: () => clearInterval(timer),
  };
}

const MEASURING_MS = 100;

/** What each process below this one holds, largest first; as exactly as it takes to see that all is well. */
function memoryUse(rootPid: number, limitBytes: number): { pid: number; bytes: number }[] {
  const largestFirst = (one: { bytes: number }, other: { bytes: number }) => other.bytes - one.bytes;
  const sizes = descendants(rootPid)
    .map((pid) => ({ pid, bytes: residentBytes(pid) }))
    .sort(largestFirst);
  let excess = sizes.reduce((sum, { bytes }) => sum + bytes, -limitBytes);
  // Hundreds of forks that share a gigabyte would keep this process busy for seconds; those count in full.
  const untilMs = performance.now() + MEASURING_MS;
  for (const size of sizes) {
    if (excess <= 0 || performance.now() > untilMs) break;
    const bytes = proportionalBytes(size.pid) ?? size.bytes;
    excess -= size.bytes - bytes;
    size.bytes = bytes;
  }
  return sizes.sort(largestFirst);
}
