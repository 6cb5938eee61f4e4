import type { Language } from '../../contract/results.ts';
import { type Log, silentLog } from '../../log.ts';
import { inspectBubblewrap, ownMaker } from './bubblewrap.ts';
import { openCgroups } from './cgroups.ts';
import { EGRESS_PREFIX, type EgressProxy, openEgressProxy } from './egress-proxy.ts';
import { readGuestModules } from './guest-modules.ts';
import { createHandedFile, handedFiles, machineProc } from './handed-file.ts';
import { insideFiles } from './inside.ts';
import { findGo, findNode, findPython } from './interpreters.ts';
import { describeIsolation } from './isolation.ts';
import { firstThatWorks } from './ladder.ts';
import { reapLeftovers } from './leftovers.ts';
import { defaultLimits, type Limits } from './limits.ts';
import type { LocalSandbox } from './local-sandbox.ts';
import { findProgram, type Machine, thisMachine } from './machine.ts';
import { copyNode, NODE_COPY_PREFIX } from './node-copy.ts';
import { noInternet, packageMissing, platformUnsupported, rootUnsupported } from './remedies.ts';
import { type Rung, rungs, rungsOfMacos } from './rungs.ts';
import { removeSandboxDirectory, SANDBOX_DIRECTORY_PREFIX } from './sandbox-directory.ts';
import { createSandboxPool, type SandboxPool } from './sandbox-pool.ts';
import { createSandboxStarter } from './sandbox-starter.ts';
import { type Architecture, seccompFilter } from './seccomp.ts';
import { WALLS_PREFIX } from './walls.ts';

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
  /** Lets go of what sandboxes share, their ways out, and those that nobody asked for; the others go on. */
  close(): Promise<void>;
};

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
  // Python's maker takes the same options.
  const bubblewrap = bwrap === undefined ? ownMaker : await inspectBubblewrap(bwrap);
  const python = await findPython(machine, readModules());
  if (python === undefined) throw packageMissing(machine, 'python3');

  for (const prefix of [NODE_COPY_PREFIX, WALLS_PREFIX, EGRESS_PREFIX]) void reapLeftovers(prefix);
  void reapLeftovers(SANDBOX_DIRECTORY_PREFIX, removeSandboxDirectory);
  const readableNode = findNode(machine);
  const nodeCopy = readableNode === undefined ? copyNode(machine.execPath) : undefined;
  const interpreters = { python, node: readableNode ?? nodeCopy?.file, goRoot: findGo(machine) };
  const contents = { seccomp: seccompFilter(architecture), ...insideFiles };
  const handed = [...python.agentBytecode, ...handedFiles.map((name) => Buffer.from(contents[name]))];
  const files = [...handed.map(createHandedFile), ...(isMac ? [] : [machineProc])];
  const cgroups = await openingCgroups;
  const proxies = new Set<EgressProxy>();
  let pool: SandboxPool<LocalSandbox> | undefined;

  const start = createSandboxStarter({
    ...{ machine, architecture, bubblewrap, interpreters, limits, cgroups, files, log },
  });

  const close = async () => {
    for (const proxy of proxies) proxy.close();
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
        // Each has its own, so that none can take the connections of another.
        const proxy = await openProxy({ allowedHosts: options.allowedHosts });
        proxies.add(proxy);
        const closeProxy = () => {
          proxies.delete(proxy);
          proxy.close();
        };
        const starting = start(rung, proxy.socketPath);
        void starting.then(({ ended }) => ended).then(closeProxy, closeProxy);
        return starting;
      },
    };
  } catch (failure) {
    await close();
    throw failure;
  }
}

function isSupported(architecture: string): architecture is Architecture {
  return architecture === 'x64' || architecture === 'arm64';
}
