import { type Bubblewrap, bubblewrapArguments, ownMaker, pythonArguments } from './bubblewrap.ts';
import { descriptorOf } from './handed-file.ts';
import type { GuardedSandbox } from './in-directory.ts';
import { insideProxy } from './inside.ts';
import type { Interpreters } from './interpreters.ts';
import { landlockCommand } from './landlock.ts';
import type { Limits } from './limits.ts';
import { findProgram, type Machine } from './machine.ts';
import type { Rung } from './rungs.ts';
import { seatbeltCommand } from './seatbelt.ts';
import type { Architecture } from './seccomp.ts';

type Options = {
  rung: Rung;
  machine: Machine;
  architecture: Architecture;
  bubblewrap: Bubblewrap;
  interpreters: Interpreters;
  limits: Limits;
  uid: number;
  agentConfig: { rlimits: Readonly<Record<string, number>> };
  /** The socket of the proxy outside; without it there is no way out. */
  proxySocket: string | undefined;
};

/** What starts one sandbox on this rung, and what looks after it where that is a guard's work. */
export function sandboxCommand(
  options: Options,
): Pick<GuardedSandbox, 'command'> & { guarded?: GuardedSandbox } {
  const { rung, machine, interpreters, proxySocket } = options;
  const agentConfig = JSON.stringify({
    ...options.agentConfig,
    proc: Number(descriptorOf('proc')),
    ...(proxySocket !== undefined && { proxy: insideProxy }),
  });
  switch (rung.madeBy) {
    case 'bubblewrap': {
      const file = program(machine, 'bwrap');
      return { command: { file, args: bubblewrapArguments({ ...options, agentConfig }) } };
    }
    case 'python': {
      const args = pythonArguments({ ...options, agentConfig, bubblewrap: ownMaker });
      return { command: { file: interpreters.python.executable, args } };
    }
    case 'landlock':
      return withGuard(landlockCommand(options));
    case 'seatbelt':
      return withGuard(seatbeltCommand({ ...options, sandboxExec: program(machine, 'sandbox-exec') }));
  }
}

const withGuard = (guarded: GuardedSandbox) => ({ command: guarded.command, guarded });

function program(machine: Machine, name: string): string {
  const file = findProgram(machine, name);
  if (file === undefined) throw new Error(`${name} is not installed`);
  return file;
}
