"""Finds, starts, supervises and kills processes."""

import collections
import os
import selectors
import signal
import struct
import sys
import time

from settings import CONFIG

AGENT = os.getpid()
IS_LINUX = sys.platform == "linux"
# macOS has no filter for system calls: there, code may end its own sandbox with its agent.
NEEDS_SHIELD = IS_LINUX and AGENT != 1
if NEEDS_SHIELD:
    from shield import shield


def can_read(path):
    try:
        os.close(os.open(path, os.O_RDONLY))
        return True
    except OSError:
        return False


# Whether it tells of processes; it may be there and closed to this one.
HAS_PROC = can_read("/proc/self/stat")


def load_libc():
    if not IS_LINUX:
        return None
    try:
        import ctypes

        return ctypes.CDLL(None)
    except (ImportError, OSError):
        return None


LIBC = load_libc()
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36


def prctl(option, value):
    if LIBC is not None:
        LIBC.prctl(option, value, 0, 0, 0)


def start_ticks():
    """Now, on the scale of a process's start time in /proc/*/stat."""
    if not HAS_PROC:
        return 0
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def processes():
    """pid -> (parent's pid, start time, state) of everything alive in the sandbox."""
    table = {}
    for name in os.listdir("/proc") if HAS_PROC else ():
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in (b"Z", b"X"):
            table[int(name)] = (int(fields[1]), int(fields[19]), fields[0])
    return table


def below(root, table):
    """The descendants of a process, itself excluded."""
    children = collections.defaultdict(list)
    for pid, (parent, *_) in table.items():
        children[parent].append(pid)
    found, queue = set(), [root]
    while queue:
        for pid in children[queue.pop()]:
            if pid not in found:
                found.add(pid)
                queue.append(pid)
    return found


def send_signal(pid, number):
    """Whether it reached anybody."""
    try:
        os.kill(pid, number)
        return True
    except OSError:
        return False


def stop_all():
    """Stops everything but this process; then nothing is missing in the table, not even a fork that was under way."""
    send_signal(-1, signal.SIGSTOP)
    before = None
    for _ in range(100):
        table = processes()
        # D: waiting for a vfork, or for a device.
        stopped = all(state in (b"T", b"t", b"D") for pid, (_, _, state) in table.items() if pid != 1)
        if stopped and table.keys() == before:
            break
        before = table.keys()
        time.sleep(0.0005)
    return table


class Supervisors:
    """The processes under which everything runs, one for each run and one for the kernel."""

    def __init__(self, agent):
        self.agent = agent
        self.pids = set()

    def kill_all(self, find):
        """Kills what `find(table)` names; everything is stopped while it looks, so that no fork escapes."""
        victims = find(stop_all())
        for pid in victims:
            send_signal(pid, signal.SIGKILL)
        send_signal(-1, signal.SIGCONT)
        # Dying takes a moment, and what is not reaped counts against the limit of processes.
        for _ in range(500):
            self.reap()
            if not victims & processes().keys():
                break
            time.sleep(0.001)

    def kill_everything(self):
        """Kills all but this process and takes leave of them, as they all become its children; needs no /proc."""
        for _ in range(500):
            reached = send_signal(-1, signal.SIGKILL)
            # On macOS orphans become nobody's children here; Linux says of anybody outside that it was reached.
            if self.reap() and (IS_LINUX or not reached):
                break
            time.sleep(0.001)

    def strays(self, table):
        """Processes whose supervisor is gone: nobody can say any more which run they belong to."""
        found = set()
        for pid, (parent, *_) in table.items():
            if parent == 1 and pid not in self.pids:
                found |= below(pid, table) | {pid}
        return found

    def reap(self):
        """Takes leave of those that ended; true once there is no child any more."""
        try:
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return False
                self.pids.discard(pid)
        except ChildProcessError:
            return True


class Supervisor:
    """A process that starts the main one of a run or kernel, and reaps whatever that leaves behind."""

    def __init__(self, supervisors, start, on_end):
        self.supervisors, self.agent, self.on_end = supervisors, supervisors.agent, on_end
        # Two numbers come: the main process's pid, and in the end its status.
        self.told = b""
        self.fd, theirs = os.pipe()
        try:
            self.pid = os.fork()
            if self.pid == 0:
                supervise(start, theirs)
        except OSError:
            os.close(self.fd)
            raise
        finally:
            os.close(theirs)
        supervisors.pids.add(self.pid)
        self.agent.watch(self.fd, selectors.EVENT_READ, self.read)

    def read(self):
        chunk = os.read(self.fd, 8)
        self.told += chunk
        if len(self.told) == 8:
            self.close()
            self.on_end(exit_code(struct.unpack("ii", self.told)[1]))
        elif not chunk:
            # Killed itself: by the code, or because memory ran out.
            self.kill()
            self.on_end(137)

    @property
    def main(self):
        return struct.unpack("i", self.told[:4])[0] if self.told else None

    def kill(self):
        """Ends all that it ever started, and itself."""
        self.close()
        root = self.pid if self.pid in self.supervisors.pids else None
        own = lambda table: (below(root, table) | {root}) & table.keys()
        self.supervisors.kill_all(lambda table: own(table) | self.supervisors.strays(table))

    def close(self):
        if self.fd is not None:
            self.agent.forget(self.fd)
            os.close(self.fd)
            self.fd = None


def supervise(start, status_write):
    """Starts the main process and stays until the last of its descendants is gone; never returns."""
    try:
        reset_signals()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        if NEEDS_SHIELD:
            shield(AGENT, LIBC)
        main = start()
        os.write(status_write, struct.pack("i", main))
        null = os.open("/dev/null", os.O_RDWR)
        for target in (0, 1, 2):
            os.dup2(null, target)
        close_above_stdio(status_write)
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == main:
                os.write(status_write, struct.pack("i", status))
                os.close(status_write)
    except OSError:
        pass
    finally:
        os._exit(0)


def start_program(argv, environment, workdir, stdio):
    for target, fd in enumerate(stdio):
        os.dup2(fd, target)
    try:
        os.chdir(workdir)
        defaults = [signal.SIGPIPE, signal.SIGXFSZ]
        return os.posix_spawnp(argv[0], argv, environment, setsid=True, setsigdef=defaults)
    except (OSError, ValueError) as error:
        os.write(2, ("%s: %s\n" % (argv[0], error)).encode())
        return start_failing()


def start_failing():
    """A process that ends as a shell does for a command that it cannot run."""
    pid = os.fork()
    if pid == 0:
        os._exit(126)
    return pid


def exit_code(status):
    """As a shell has it: 128 + n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def reset_signals():
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def close_above_stdio(*kept):
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, CONFIG["rlimits"]["NOFILE"])
