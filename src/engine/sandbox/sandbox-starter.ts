import { SandboxFailure } from '../../contract/failures.ts';
import type { Log } from '../../log.ts';
import type { Bubblewrap } from './bubblewrap.ts';
import type { Cgroups } from './cgroups.ts';
import type { HandedFile } from './handed-file.ts';
import { commandsOf, type Interpreters } from './interpreters.ts';
import { countsProcessesByNamespace } from './isolation.ts';
import type { Limits } from './limits.ts';
import { createLocalSandbox, type LocalSandbox } from './local-sandbox.ts';
import type { Machine } from './machine.ts';
import { preparedInCalm } from './prepared-in-calm.ts';
import type { Rung } from './rungs.ts';
import { sandboxCommand } from './sandbox-command.ts';
import { createSandboxUids, uidsOfProcesses } from './sandbox-uids.ts';
import type { Architecture } from './seccomp.ts';
import { type StartedGuest, startGuest } from './start-guest.ts';
import { createWatchdog } from './watchdog.ts';

type SandboxStarterOptions = {
  machine: Machine;
  architecture: Architecture;
  bubblewrap: Bubblewrap;
  interpreters: Interpreters;
  limits: Limits;
  cgroups: Cgroups | undefined;
  /** What every command gets as descriptors. */
  files: readonly HandedFile[];
  log: Log;
};

/** A sandbox is up in some 25 ms; a machine that needs this long is stuck. */
const START_MS = 10_000;

/** Starts a sandbox on a rung, with the way out that a proxy's socket is; rejects with `SERVICE_UNAVAILABLE`. */
export function createSandboxStarter(options: SandboxStarterOptions) {
  const { machine, interpreters, limits, cgroups, files, log } = options;
  const agentConfig = {
    ...limits,
    commands: commandsOf(interpreters, limits.memoryBytes),
    rlimits: rlimits(limits, machine),
  };
  const uids = createSandboxUids();

  return preparedInCalm(async (rung: Rung, proxySocket?: string): Promise<LocalSandbox> => {
    const taken = rung.userNamespace || machine.uid !== 0 ? undefined : uidsOfProcesses();
    const uid = machine.uid === 0 ? uids.take(taken) : machine.uid;
    const { command, guarded } = sandboxCommand({ ...options, rung, uid, agentConfig, proxySocket });
    const guest = await startGuest({
      ...command,
      uid: machine.uid === 0 && rung.userNamespace ? uid : undefined,
      files,
      guard: guarded === undefined ? 'none' : rung.madeBy === 'seatbelt' ? 'ends and stops' : 'ends',
    }).catch((cause) => {
      uids.giveBack(uid);
      throw notStarted(String(cause), cause);
    });
    const { rootPid, agentPid } = guest;
    const cgroup = cgroups?.confine(rootPid);
    const memoryKills = guarded?.memoryKills ?? cgroup?.memoryKills;
    const watch = (hooks: { onAgentOverLimit(): void }) => {
      const watched = { rootPid, agentPid, limitBytes: limits.memoryBytes, memoryKills, ...hooks };
      if (guarded === undefined) return createWatchdog({ ...watched, maxFiles: limits.files });
      return guarded.watchDisk(createWatchdog(watched), rootPid, hooks.onAgentOverLimit);
    };
    const release = async () => {
      uids.giveBack(uid);
      await Promise.all([cgroup?.remove(), guarded?.remove()]);
    };
    const { sandbox, ready } = createLocalSandbox({ guest, limits, log, watch, release });
    const timer = setTimeout(() => void sandbox.destroy(), START_MS);
    try {
      await ready;
      if (machine.platform === 'linux') requireSight(guest);
      await cgroup?.hold();
    } catch (cause) {
      void sandbox.destroy();
      throw notStarted(guest.complaints() || String(cause), cause);
    } finally {
      clearTimeout(timer);
    }
    return sandbox;
  });
}

/** Nobody could watch their memory otherwise. */
function requireSight({ agentPid }: StartedGuest): void {
  if (agentPid() === undefined) throw new Error('its processes cannot be seen from outside');
}

function notStarted(complaint: string, cause: unknown): SandboxFailure {
  const message = `The sandbox did not start: ${complaint.trim().slice(0, 300)}`;
  return new SandboxFailure('SERVICE_UNAVAILABLE', { message, cause });
}

/** What the agent sets with setrlimit; the names are those of Python's resource module. */
function rlimits(limits: Limits, machine: Machine) {
  return {
    // 1 byte, for at 0 the kernel still starts the program that the machine has dumps piped to (core(5)).
    CORE: 1,
    // Those of audio groups could have their code go before all others.
    ...{ RTPRIO: 0, NICE: 0 },
    // Not AS: V8 and WebAssembly reserve far more address space than they use.
    DATA: limits.memoryBytes,
    FSIZE: limits.fileBytes,
    NOFILE: limits.openFiles,
    ...(countsProcessesByNamespace(machine) && { NPROC: limits.processes }),
  };
}
