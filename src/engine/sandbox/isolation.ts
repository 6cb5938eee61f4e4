import type { Bubblewrap } from './bubblewrap.ts';
import { type Cgroups, limitedBy } from './cgroups.ts';
import { landlockIsolation } from './landlock.ts';
import type { Machine } from './machine.ts';
import type { Rung } from './rungs.ts';
import { seatbeltIsolation } from './seatbelt.ts';

const UNCAPPED_FILES =
  '; its files may fill the memory of this machine, as this bubblewrap is older than 0.7';
const UNCAPPED_PROCESSES = '; it may start any number of processes, as this kernel is older than 5.14';

type Built = { rung: Rung; machine: Machine; bubblewrap: Bubblewrap; cgroups: Cgroups | undefined };

/** What stands between code in a sandbox and this machine, and what is weaker than it could be. */
export function describeIsolation(built: Built): string {
  const { rung, machine, cgroups } = built;
  switch (rung.madeBy) {
    case 'landlock':
      return landlockIsolation(machine, limitedBy(cgroups));
    case 'seatbelt':
      return seatbeltIsolation;
    case 'bubblewrap':
    case 'python':
      return (
        `Own user, process, network, IPC and file system namespaces (${rung.madeBy}) ` +
        `with a system-call filter, as an unprivileged user${limitedBy(cgroups)}; ` +
        `the kernel is shared with this machine${weaknesses(built).join('')}.`
      );
  }
}

function weaknesses({ rung, machine, bubblewrap, cgroups }: Built): string[] {
  const capsFiles = rung.madeBy === 'python' || bubblewrap.size || cgroups?.limited.includes('memory');
  const capsProcesses = countsProcessesByNamespace(machine) || cgroups?.limited.includes('pids');
  return [rung.weaker, capsFiles ? '' : UNCAPPED_FILES, capsProcesses ? '' : UNCAPPED_PROCESSES];
}

/** Before Linux 5.14 all processes of a user counted, this server's user's own too; as root, sandboxes have uids of their own. */
export function countsProcessesByNamespace(machine: Machine): boolean {
  const [major = 0, minor = 0] = machine.release.split('.').map(Number);
  return machine.uid === 0 || major > 5 || (major === 5 && minor >= 14);
}
