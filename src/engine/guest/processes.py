"""Finds, starts and signals processes."""

import collections
import os
import signal
import sys
import time

from settings import CONFIG

IS_LINUX = sys.platform == "linux"


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
    try:
        os.kill(pid, number)
    except OSError:
        pass


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


def start_program(argv, environment, workdir, stdio):
    for target, fd in enumerate(stdio):
        os.dup2(fd, target)
    try:
        os.chdir(workdir)
        defaults = [signal.SIGPIPE, signal.SIGXFSZ]
        return os.posix_spawnp(argv[0], argv, environment, setsid=True, setsigdef=defaults)
    except (OSError, ValueError, NotImplementedError) as error:
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
