"""Runs inside a sandbox as its PID 1: starts runs and terminals, keeps the Python kernel, serves files.

Speaks JSON lines with the host over stdin and stdout. Standard library only, Python 3.9 or newer.
Nothing in here is trusted by the host: code in the sandbox has the same uid.
"""

import os
import select
import sys

# The host waits for this line; the imports below take longer than everything before them.
os.write(1, b'{"event":"hello"}\n')

# The host speaks when there is something to do, or when it starts no other sandbox that this could hold up.
select.select([0], [], [])

import fcntl
import json
import resource
import selectors
import signal

from files import Files, describe
from processes import HAS_PROC, PR_SET_DUMPABLE, prctl
from runs import Runs
from settings import CHUNK, CONFIG, HERE, PIECE
from supervisors import SCORE
from terminal import Terminals
from watch import WATCH_SECONDS, Watches

if "proxy" in CONFIG:
    from forwarder import Forwarder

# What was imported from there is all that is; code in the sandbox has modules of the same names.
sys.path.remove(HERE)

# Descriptors that the server inherited and passed on would be handed to every program in here.
for fd in os.listdir("/proc/self/fd") if HAS_PROC else range(3, 4096):
    if int(fd) > 2 and int(fd) not in (CONFIG.get("guard"), SCORE):
        try:
            os.close(int(fd))
        except OSError:
            pass

HOST_IN = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 100)
HOST_OUT = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 100)


class Agent:
    """The loop that everything else is called from, and the channel to the host."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.outbox = bytearray()
        self.inbox = bytearray()
        self.runs = Runs(self)
        self.files = Files(self)
        self.terminals = Terminals(self, self.runs.supervisors)
        self.watches = Watches(self)
        if "proxy" in CONFIG:
            self.forwarder = Forwarder(self)
        self.operations = {
            "prepare": self.runs.prepare,
            "run": self.runs.start,
            "interrupt": self.runs.interrupt,
            "kill": self.kill,
            "stop": self.stop,
            "watch": self.watches.watch,
            "unwatch": self.watches.unwatch,
            **self.files.operations,
            **self.terminals.operations,
        }

    def kill(self, request):
        if request["id"] not in self.terminals.terminals:
            self.runs.kill(request)
        elif HAS_PROC:
            self.terminals.kill(request)
        else:
            self.kill_everything()

    def stop(self, request):
        """Ends everything but this process."""
        self.kill_everything()
        self.send({"event": "done", "id": request["id"]})

    def kill_everything(self):
        self.runs.kill_everything()
        self.terminals.kill_all()

    def watch(self, fd, events, callback):
        self.selector.register(fd, events, callback)

    def forget(self, fd):
        try:
            self.selector.unregister(fd)
        except KeyError:
            pass

    def serve(self):
        self.wake_fd, wake_write = os.pipe()
        for fd in (self.wake_fd, wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        if os.getpid() != 1:
            # Of a guard that died.
            signal.signal(signal.SIGTERM, lambda *_: None)
        os.set_blocking(HOST_IN, False)
        os.set_blocking(HOST_OUT, False)
        self.watch(HOST_IN, selectors.EVENT_READ, self.read_host)
        self.watch(self.wake_fd, selectors.EVENT_READ, self.child_ended)
        while True:
            self.flush()
            ready = self.selector.select(WATCH_SECONDS if self.watches.watches else None)
            self.watches.look_if_due()
            for key, _ in ready:
                # An earlier callback of this round may have closed it.
                if self.selector.get_map().get(key.fd) is key:
                    key.data()

    def send(self, event):
        self.outbox += json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        self.outbox += b"\n"

    def send_text(self, event, text):
        for start in range(0, len(text), PIECE):
            self.send({**event, "text": text[start : start + PIECE]})

    def fail(self, request_id, code, message):
        self.send({"event": "failed", "id": request_id, "code": code, "message": message[:300]})

    def flush(self):
        while self.outbox or self.files.readers:
            if not self.outbox:
                self.files.continue_reading()
                continue
            try:
                sent = os.write(HOST_OUT, memoryview(self.outbox)[:CHUNK])
            except BlockingIOError:
                break
            except OSError:
                self.leave()
            del self.outbox[:sent]
        self.forget(HOST_OUT)
        if self.outbox:
            self.watch(HOST_OUT, selectors.EVENT_WRITE, lambda: None)

    def read_host(self):
        try:
            chunk = os.read(HOST_IN, CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self.leave()
        self.inbox += chunk
        if b"\n" not in chunk:
            return
        *lines, rest = self.inbox.split(b"\n")
        self.inbox = bytearray(rest)
        for line in lines:
            request = json.loads(line)
            try:
                self.operations[request["op"]](request)
            except (OSError, ValueError, KeyError) as error:
                self.fail(request["id"], *describe(error))

    def leave(self):
        """Ends the sandbox; the kernel ends what is below PID 1 by itself."""
        if os.getpid() != 1:
            self.runs.supervisors.kill_everything()
        os._exit(0)

    def child_ended(self):
        try:
            if signal.SIGTERM in os.read(self.wake_fd, 4096):
                self.leave()
        except BlockingIOError:
            pass
        self.runs.supervisors.reap()


def main():
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for target in (0, 1):
        os.dup2(null, target)
    for name, value in CONFIG["rlimits"].items():
        number = getattr(resource, "RLIMIT_" + name, None)
        if number is None:
            continue
        _, hard = resource.getrlimit(number)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (limit, limit))
    agent = Agent()
    # From here on its files in /proc are not its own any more.
    prctl(PR_SET_DUMPABLE, 0)
    agent.serve()


if __name__ == "__main__":
    main()
