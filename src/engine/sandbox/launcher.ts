import { SandboxFailure } from '../../contract/failures.ts';
import type { Language } from '../../contract/results.ts';
import { type Log, silentLog } from '../../log.ts';
import { insideFiles, inspectBubblewrap, ownMaker, type Rung, rungs, rungsOfMacos } from './bubblewrap.ts';
import { openCgroups } from './cgroups.ts';
import { type EgressProxy, openEgressProxy } from './egress-proxy.ts';
import { readGuestModules } from './guest-modules.ts';
import { createHandedFile, handedFiles } from './handed-file.ts';
import { commandsOf, findGo, findNode, findPython } from './interpreters.ts';
import { countsProcessesByNamespace, describeIsolation } from './isolation.ts';
import { firstThatWorks } from './ladder.ts';
import { reapLeftovers } from './leftovers.ts';
import { defaultLimits, type Limits } from './limits.ts';
import { createLocalSandbox, type LocalSandbox } from './local-sandbox.ts';
import { type Machine, thisMachine } from './machine.ts';
import { copyNode, NODE_COPY_PREFIX } from './node-copy.ts';
import { preparedInCalm } from './prepared-in-calm.ts';
import { findProgram, noInternet, packageMissing, platformUnsupported, rootUnsupported } from './remedies.ts';
import { sandboxCommand } from './sandbox-command.ts';
import { removeSandboxDirectory, SANDBOX_DIRECTORY_PREFIX } from './sandbox-directory.ts';
import { createSandboxPool, type SandboxPool } from './sandbox-pool.ts';
import { type Architecture, seccompFilter } from './seccomp.ts';
import { startGuest } from './start-guest.ts';
import { WALLS_PREFIX } from './walls.ts';
import { createWatchdog } from './watchdog.ts';

export type LauncherOptions = {
  limits?: Partial<Limits>;
  log?: Log;
  machine?: Machine;
  /** Ways of making a sandbox, best first; the first that works here is used. */
  rungs?: readonly Rung[];
  /** What sandboxes with internet access may reach: names, or `*.example.org`; undefined: every public host. */
  allowedHosts?: readonly string[] | undefined;
  openProxy?: typeof openEgressProxy;
  readModules?: typeof readGuestModules;
  /** How many sandboxes are kept ready once one was asked for. */
  poolSize?: number | undefined;
};

export type Launcher = {
  /** What stands between code in a sandbox and this machine, and what is weaker than it could be. */
  isolation: string;
  /** Those whose interpreter works inside. */
  languages: readonly Language[];
  launch(options: { id: string; internetAccess: boolean }): Promise<LocalSandbox>;
  /** Lets go of what is shared by the sandboxes and of those that nobody asked for; the others are not touched. */
  close(): Promise<void>;
};

/** Below the uids that systemd gives away by itself (61184 to 65519), above those of people. */
const FIRST_UID = 61_000;
const UIDS = 184;

/** A sandbox is up in some 25 ms; a machine that needs this long is stuck. */
const START_MS = 10_000;

/** Probes this machine by really running a sandbox; throws `ENGINE_UNAVAILABLE` with the command that mends it. */
export async function openLauncher(options: LauncherOptions = {}): Promise<Launcher> {
  const { log = silentLog, machine = thisMachine(), openProxy = openEgressProxy } = options;
  const { readModules = readGuestModules } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const { architecture, platform } = machine;
  const isMac = platform === 'darwin';
  if (!(isMac || platform === 'linux') || !isSupported(architecture)) throw platformUnsupported(machine);
  if (isMac && machine.uid === 0) throw rootUnsupported();
  const openingCgroups = openCgroups(machine, limits);
  const bwrap = findProgram(machine, 'bwrap');
  // What it knows, Python does as well.
  const bubblewrap = bwrap === undefined ? ownMaker : await inspectBubblewrap(bwrap);
  const python = await findPython(machine, readModules());
  if (python === undefined) throw packageMissing(machine, 'python3');

  for (const prefix of [NODE_COPY_PREFIX, WALLS_PREFIX]) reapLeftovers(prefix);
  reapLeftovers(SANDBOX_DIRECTORY_PREFIX, removeSandboxDirectory);
  const readableNode = findNode(machine);
  const nodeCopy = readableNode === undefined ? copyNode(machine.execPath) : undefined;
  const interpreters = { python, node: readableNode ?? nodeCopy?.file, goRoot: findGo(machine) };
  const agentConfig = {
    ...limits,
    commands: commandsOf(interpreters, limits.memoryBytes),
    rlimits: rlimits(limits, machine),
  };
  const contents = { seccomp: seccompFilter(architecture), ...insideFiles };
  const handed = [...python.agentBytecode, ...handedFiles.map((name) => Buffer.from(contents[name]))];
  const files = handed.map(createHandedFile);
  const cgroups = await openingCgroups;
  // Not the uids of another server: without a user namespace the kernel counts the processes of both together.
  let started = process.pid;
  let proxy: Promise<EgressProxy> | undefined;
  let pool: SandboxPool<LocalSandbox> | undefined;

  const start = preparedInCalm(async (rung: Rung, proxySocket?: string): Promise<LocalSandbox> => {
    const uid = FIRST_UID + (started++ % UIDS);
    const { command, guarded } = sandboxCommand({
      ...{ rung, machine, architecture, bubblewrap, interpreters, limits, uid, agentConfig, proxySocket },
    });
    const guest = await startGuest({
      ...command,
      uid: machine.uid === 0 && rung.userNamespace ? uid : undefined,
      files,
      guard: guarded === undefined ? 'none' : isMac ? 'ends and stops' : 'ends',
    }).catch((cause) => {
      throw notStarted(String(cause), cause);
    });
    const { rootPid, agentPid } = guest;
    const cgroup = cgroups?.confine(rootPid);
    const { memoryKills } = guarded ?? cgroup ?? {};
    const watch = (hooks: { onAgentOverLimit(): void }) => {
      const watched = { rootPid, agentPid, limitBytes: limits.memoryBytes, memoryKills, ...hooks };
      if (guarded === undefined) return createWatchdog({ ...watched, maxFiles: limits.files });
      return guarded.watchDisk(createWatchdog(watched), hooks.onAgentOverLimit);
    };
    void guest.exited.then(() => guarded?.remove());
    const { sandbox, ready } = createLocalSandbox({ guest, limits, log, watch, release: cgroup?.remove });
    const timer = setTimeout(() => void sandbox.destroy(), START_MS);
    try {
      await ready;
      guest.offerToKernel();
      await cgroup?.hold();
    } catch (cause) {
      void sandbox.destroy();
      throw notStarted(guest.complaints() || String(cause), cause);
    } finally {
      clearTimeout(timer);
    }
    return sandbox;
  });

  const close = async () => {
    void proxy?.then((opened) => opened.close());
    for (const file of files) file.close();
    nodeCopy?.remove();
    await pool?.close();
  };
  try {
    const { rung, languages } = await firstThatWorks(
      (options.rungs ?? (isMac ? rungsOfMacos : rungs)).filter(
        ({ madeBy }) => madeBy !== 'bubblewrap' || bwrap !== undefined,
      ),
      machine,
      start,
    ).catch((failure: unknown) => {
      throw bwrap === undefined && !isMac ? packageMissing(machine, 'bubblewrap') : failure;
    });
    const { poolSize: size = 2 } = options;
    const opened = createSandboxPool({ launch: () => start(rung), size });
    pool = opened;
    log.debug('launcher opened', { bubblewrap, python: python.executable, rung, languages });
    return {
      isolation: describeIsolation({ rung, machine, bubblewrap, cgroups }),
      languages,
      close,
      async launch({ internetAccess }) {
        if (!internetAccess) return opened.take();
        if (rung.madeBy === 'landlock' || isMac) throw noInternet(machine);
        proxy ??= openProxy({ allowedHosts: options.allowedHosts });
        return start(rung, (await proxy).socketPath);
      },
    };
  } catch (failure) {
    await close();
    throw failure;
  }
}

function notStarted(complaint: string, cause: unknown): SandboxFailure {
  const message = `The sandbox did not start: ${complaint.trim().slice(0, 300)}`;
  return new SandboxFailure('SERVICE_UNAVAILABLE', { message, cause });
}

/** What the agent sets with setrlimit; the names are those of Python's resource module. */
function rlimits(limits: Limits, machine: Machine) {
  return {
    CORE: 0,
    // Not AS: V8 and WebAssembly reserve far more address space than they use.
    DATA: limits.memoryBytes,
    FSIZE: limits.fileBytes,
    NOFILE: limits.openFiles,
    ...(countsProcessesByNamespace(machine) && { NPROC: limits.processes }),
  };
}

function isSupported(architecture: string): architecture is Architecture {
  return architecture === 'x64' || architecture === 'arm64';
}
