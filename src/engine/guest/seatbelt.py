"""Makes a sandbox on macOS, where Seatbelt shuts files, network, signals and services, and stays outside as its guard.

Nothing there ends the processes of a sandbox with its first one, and no limit is over their memory together. So the
guard knows them by a mark that every one of them inherits. It ends them when the agent or the server has ended, and all
but the agent when that asks; it stops and continues them on SIGUSR1 and SIGUSR2, and kills the largest when together
they hold too much. Nobody has tried it on a Mac.
"""

import json
import os
import resource
import select
import signal
import socket
import sys
import time

from directory import fill, remove
from macos import footprint, is_inside, own_pids

LOOK_SECONDS = 0.2
# A pid that was somebody else's may be one of the sandbox's by then.
LOOKS_REMEMBERED = 25
STOP, CONTINUE = signal.SIGUSR1, signal.SIGUSR2
ENDINGS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def send_signal(pid, number):
    try:
        os.kill(pid, number)
    except OSError:
        pass


class Guard:
    def __init__(self, config):
        self.config = config
        self.received = []
        # The agent asks here for everything but itself to be killed.
        self.requests, self.agents_end = socket.socketpair()
        self.verdicts = {}
        self.looks = 0

    def inside(self):
        return {pid for pid in own_pids() if is_inside(pid, self.config["mark"])}

    def stop_everything(self, spared=frozenset()):
        """What is stopped does not fork; the others may be children of what was not stopped yet."""
        stopped = set()
        while True:
            fresh = self.inside() - stopped - spared
            if not fresh:
                return stopped
            for pid in fresh:
                send_signal(pid, signal.SIGSTOP)
            stopped |= fresh

    def continue_everything(self):
        for pid in self.inside():
            send_signal(pid, signal.SIGCONT)

    def kill_everything(self, spared=frozenset()):
        while True:
            remaining = self.stop_everything(spared)
            if not remaining:
                return
            for pid in remaining:
                send_signal(pid, signal.SIGKILL)
            self.has_agent_ended()
            time.sleep(0.001)

    def has_agent_ended(self):
        try:
            return os.waitpid(self.agent, os.WNOHANG)[0] == self.agent
        except ChildProcessError:
            return True

    def is_within_memory(self):
        """Looks, and kills the largest processes but the agent until the rest fits."""
        if self.looks % LOOKS_REMEMBERED == 0:
            self.verdicts = {}
        self.looks += 1
        mark, known = self.config["mark"], self.verdicts
        self.verdicts = {pid: known[pid] if pid in known else is_inside(pid, mark) for pid in own_pids()}
        inside = {pid for pid, verdict in self.verdicts.items() if verdict} - {self.agent}
        sizes = sorted(((footprint(pid), pid) for pid in inside), reverse=True)
        excess = sum(size for size, _ in sizes) + footprint(self.agent) - self.config["memoryBytes"]
        for size, pid in sizes:
            if excess <= 0:
                break
            # Not by what was true when it was last asked.
            if is_inside(pid, mark):
                self.note_kill()
                send_signal(pid, signal.SIGKILL)
            excess -= size
        return excess <= 0

    def note_kill(self):
        """The server counts the bytes of this file."""
        with open(self.config["kills"], "ab") as file:
            file.write(b".")

    def listen(self):
        self.wake_fd, wake_write = os.pipe()
        for fd in (self.wake_fd, wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in ENDINGS | {signal.SIGCHLD, STOP, CONTINUE}:
            signal.signal(number, lambda number, frame: self.received.append(number))

    def keep_watch(self):
        """Returns when the sandbox is to end."""
        while True:
            ready, _, _ = select.select([self.wake_fd, self.requests], [], [], LOOK_SECONDS)
            if self.wake_fd in ready:
                os.read(self.wake_fd, 4096)
            received, self.received = self.received, []
            if ENDINGS & set(received) or os.getppid() != self.config["server"] or self.has_agent_ended():
                return
            for number in received:
                if number == STOP:
                    self.stop_everything()
                if number == CONTINUE:
                    self.continue_everything()
            if self.requests in ready and self.requests.recv(1):
                self.kill_everything({self.agent})
                self.requests.send(b"k")
            if not self.is_within_memory():
                self.note_kill()
                return

    def run(self):
        config = self.config
        os.setsid()
        self.listen()
        if os.getppid() != config["server"]:
            return
        os.umask(0o022)
        os.mkdir(config["directory"], 0o700)
        self.agent = 0
        try:
            fill(config)
            self.agent = os.fork()
            if self.agent == 0:
                become_agent(config, self.agents_end)
            self.agents_end.close()
            # The pipes are the agent's; whoever holds the other ends is to see when it ends.
            os.closerange(0, 2)
            self.keep_watch()
        finally:
            if self.agent > 0:
                # It may not have come as far as its mark.
                send_signal(self.agent, signal.SIGKILL)
            self.kill_everything()
            remove(config["directory"])


def become_agent(config, guard):
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        # It counts all processes of the user.
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        most = len(own_pids()) + config["processes"]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        os.chdir(config["places"][0])
        os.dup2(guard.fileno(), config["guard"])
        os.execve(config["command"][0], config["command"], config["environment"])
    except Exception as error:
        complain(error)
    finally:
        os._exit(1)


def complain(error):
    os.write(2, ("seatbelt: %s\n" % error).encode())


try:
    Guard(json.loads(sys.argv[1])).run()
except Exception as error:
    complain(error)
    os._exit(1)
