"""The process in which Python runs keep their variables, seen from the agent."""

import json
import selectors
import signal
import socket

from processes import below, processes, send_signal
from session import RICH, start_kernel
from settings import CHUNK
from supervisors import Supervisor

# A kernel's reply: images and rich text of one run.
LONGEST_REPLY = 16 * 1024 * 1024


class Kernel:
    """The process in which Python runs keep their variables."""

    def __init__(self, runs):
        self.runs, self.agent = runs, runs.agent
        self.run = None
        self.inbox = bytearray()
        self.outbox = b""
        self.socket, theirs = socket.socketpair()
        try:
            self.supervisor = Supervisor(runs.supervisors, lambda: start_kernel(theirs), self.died)
        finally:
            theirs.close()
        self.socket.setblocking(False)
        self.agent.watch(self.socket.fileno(), selectors.EVENT_READ, self.read)

    def execute(self, run, request, writers):
        self.run = run
        message = {"code": request["code"], "env": request["env"], "workdir": request.get("workdir")}
        data = json.dumps(message).encode() + b"\n"
        try:
            sent = socket.send_fds(self.socket, [data], writers)
        except OSError:
            # A kernel that does not listen is broken: SIGCHLD or the host's clock ends the run.
            return
        self.outbox = data[sent:]
        if self.outbox:
            self.agent.selector.modify(self.socket.fileno(), selectors.EVENT_READ | selectors.EVENT_WRITE, self.read)

    def write_rest(self):
        try:
            self.outbox = self.outbox[self.socket.send(self.outbox) :]
        except BlockingIOError:
            return
        except OSError:
            self.outbox = b""
        if not self.outbox:
            self.agent.selector.modify(self.socket.fileno(), selectors.EVENT_READ, self.read)

    def read(self):
        if self.outbox:
            self.write_rest()
        # Enough for the longest reply, and an end for code that floods the channel.
        for _ in range(LONGEST_REPLY // CHUNK):
            try:
                chunk = self.socket.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk or len(self.inbox) > LONGEST_REPLY:
                # The kernel is gone, or the code closed its end or talks on it.
                self.agent.forget(self.socket.fileno())
                self.send_signal(signal.SIGKILL)
                return
            self.inbox += chunk
            if chunk.endswith(b"\n"):
                line, self.inbox = self.inbox, bytearray()
                self.reply(line)

    def reply(self, line):
        run, self.run = self.run, None
        try:
            reply = json.loads(line)
            code = int(reply["code"]) & 0xFF
            rich = {kind: reply[kind] for kind in RICH if isinstance(reply.get(kind), str)}
        except (ValueError, KeyError, TypeError, RecursionError):
            self.send_signal(signal.SIGKILL)
            self.run = run
            return
        if run is None:
            return
        if run.interrupted:
            self.runs.supervisors.kill_all(self.started_since(run))
        for kind, text in rich.items():
            self.agent.send_text({"event": "rich", "id": run.id, "kind": kind}, text)
        lost, self.runs.kernel_lost = self.runs.kernel_lost, False
        self.runs.end(run, code, lost)

    def started_since(self, run):
        """Finds the kernel's descendants that are not older than the run."""
        main, root = self.supervisor.main, self.supervisor.pid
        return lambda table: {pid for pid in below(root, table) if pid != main and table[pid][1] >= run.started}

    def send_signal(self, number):
        if self.supervisor.main is not None:
            send_signal(self.supervisor.main, number)

    def interrupt(self, run):
        for pid in self.started_since(run)(processes()):
            send_signal(pid, signal.SIGINT)
        self.send_signal(signal.SIGINT)

    def kill(self):
        self.supervisor.kill()
        self.close()

    def died(self, code):
        # A reply may have come before the end.
        self.read()
        self.kill()
        if self.run is not None:
            self.runs.end(self.run, code, variables_lost=True)
        else:
            self.runs.kernel_lost = True

    def close(self):
        self.runs.kernel = None
        if self.socket.fileno() >= 0:
            self.agent.forget(self.socket.fileno())
            self.socket.close()
