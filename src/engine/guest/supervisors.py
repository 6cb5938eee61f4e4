"""The processes under which everything runs: they know what belongs to which run, and see it end."""

import os
import selectors
import signal
import socket
import struct
import time

from processes import (
    HAS_PROC,
    IS_LINUX,
    LIBC,
    below,
    close_above_stdio,
    exit_code,
    prctl,
    processes,
    reset_signals,
    send_signal,
    stop_all,
)
from settings import CONFIG

PR_SET_CHILD_SUBREAPER = 36
AGENT = os.getpid()
# macOS has no filter for system calls: there, code may end its own sandbox with its agent.
NEEDS_SHIELD = IS_LINUX and AGENT != 1
if NEEDS_SHIELD:
    from shield import shield

# Where a signal to everybody would reach this process too, the guard outside kills the others for it.
GUARD = None
if "guard" in CONFIG:
    os.set_inheritable(CONFIG["guard"], False)
    GUARD = socket.socket(fileno=CONFIG["guard"])
GUARD_SECONDS = 2

# Where this process says how readily it may be ended when memory runs out. Code cannot open its own: it has no /proc, or
# a read-only one.
SCORE = CONFIG.get("score")
if "proc" in CONFIG:
    SCORE = os.open("self/oom_score_adj", os.O_RDWR, dir_fd=CONFIG["proc"])
if SCORE is not None:
    os.set_inheritable(SCORE, False)
    OWN_SCORE = os.pread(SCORE, 8, 0)


def fork_first_to_go():
    """Forks a process that is ended before this one when memory runs out, as all that comes of it."""
    if SCORE is None:
        return os.fork()
    os.pwrite(SCORE, b"1000", 0)
    try:
        pid = os.fork()
    finally:
        os.pwrite(SCORE, OWN_SCORE, 0)
    if pid == 0:
        os.close(SCORE)
    return pid


def ask_guard():
    try:
        GUARD.settimeout(GUARD_SECONDS)
        GUARD.sendall(b"k")
        GUARD.recv(1)
    except OSError:
        # Nobody looks after this sandbox any more: it ends here.
        send_signal(-1, signal.SIGKILL)


class Supervisors:
    """The processes under which everything runs, one for each run and one for the kernel."""

    def __init__(self, agent):
        self.agent = agent
        self.pids = set()

    def kill_all(self, find):
        """Kills what `find(table)` names; everything is stopped while it looks, so that no fork escapes."""
        if not HAS_PROC:
            return
        victims = find(stop_all())
        for pid in victims:
            send_signal(pid, signal.SIGKILL)
        send_signal(-1, signal.SIGCONT)
        # Dying takes a moment, and what is not reaped counts against the limit of processes.
        for _ in range(500):
            remaining = victims & processes().keys()
            # After the look: those that have ended since it began are not taken leave of yet.
            self.reap()
            if not remaining:
                break
            time.sleep(0.001)

    def kill_everything(self):
        """Kills all but this process and takes leave of them, as they all become its children; needs no /proc."""
        if GUARD is not None:
            ask_guard()
        for _ in range(500):
            if GUARD is None:
                send_signal(-1, signal.SIGKILL)
            if self.reap():
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
            self.pid = fork_first_to_go()
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
