import { descendants, readProc, residentBytes, statOf } from './process-tree.ts';

/** A process in a sandbox, with the number that it has there. */
export type SystemProcess = {
  pid: number;
  name: string;
  status: string;
  cpu_percent: number;
  memory_mb: number;
  command: string;
};

/** Linux counts the time of a process in hundredths of a second, on every architecture there is a sandbox for. */
const TICKS_PER_SECOND = 100;

/** The longest command line that is told, and what is read for it: a process can make its own as long as its memory. */
const MAX_COMMAND_CHARS = 1000;
const MAX_COMMAND_BYTES = 4 * MAX_COMMAND_CHARS;

/** All processes below this one, as seen from outside. */
export function listProcesses(rootPid: number): SystemProcess[] {
  const uptimeSeconds = Number.parseFloat(readProc('/proc/uptime'));
  return descendants(rootPid).flatMap((hostPid) => {
    const status = readProc(`/proc/${hostPid}/status`);
    const pid = Number(/^NSpid:.*\s(\d+)$/m.exec(status)?.[1]);
    const name = /^Name:\s+(.*)$/m.exec(status)?.[1];
    if (!Number.isInteger(pid) || name === undefined) return [];
    const fields = statOf(hostPid);
    const [state = '?'] = fields;
    // User time, system time and start.
    const [user = 0, system = 0, started = 0] = [fields[11], fields[12], fields[19]].map(Number);
    const ageSeconds = Math.max(0.01, uptimeSeconds - started / TICKS_PER_SECOND);
    const command = readProc(`/proc/${hostPid}/cmdline`, MAX_COMMAND_BYTES).split('\0').join(' ').trim();
    return [
      {
        pid,
        name,
        status: state,
        cpu_percent: Math.round(((user + system) / TICKS_PER_SECOND / ageSeconds) * 1000) / 10,
        memory_mb: Math.round((residentBytes(hostPid) / 1024 / 1024) * 10) / 10,
        command: command.slice(0, MAX_COMMAND_CHARS),
      },
    ];
  });
}
