"""Terminals: a shell each, on a pseudo-terminal of its own."""

import codecs
import fcntl
import os
import selectors
import signal
import struct
import termios

from places import WORKSPACE
from processes import reset_signals
from settings import CHUNK
from supervisors import Supervisor

SHELL = "/bin/bash"
# So many pieces may be on their way before the host has to say that it took one.
PIECES_AHEAD = 4
READ_BYTES = 32 * 1024


class Terminals:
    def __init__(self, agent, supervisors):
        self.agent, self.supervisors = agent, supervisors
        self.terminals = {}
        self.operations = {
            "terminal": self.open,
            "input": lambda request: self.tell(request, lambda terminal: terminal.type(request["text"])),
            "resize": lambda request: self.tell(request, lambda terminal: terminal.resize(request)),
            "more": lambda request: self.tell(request, Terminal.more),
        }

    def open(self, request):
        self.terminals[request["id"]] = Terminal(self, request)

    def tell(self, request, act):
        terminal = self.terminals.get(request["id"])
        # What is sent to a terminal that just ended is lost, as it is everywhere.
        if terminal is not None:
            act(terminal)

    def kill(self, request):
        self.tell(request, Terminal.kill)

    def kill_all(self):
        for terminal in list(self.terminals.values()):
            terminal.supervisor.close()
            terminal.end(137)


class Terminal:
    def __init__(self, terminals, request):
        self.terminals, self.agent = terminals, terminals.agent
        self.id = request["id"]
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.typed = bytearray()
        self.pieces_ahead = 0
        self.events = None
        try:
            self.fd, theirs = os.openpty()
        except OSError as error:
            raise OSError(error.errno, "this sandbox can have no terminal: " + error.strerror) from error
        try:
            self.resize(request)
            environment = {**os.environ, "TERM": "xterm-256color", **request["env"]}
            start = lambda: start_shell(theirs, environment)
            self.supervisor = Supervisor(terminals.supervisors, start, self.end)
        except OSError:
            os.close(self.fd)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(self.fd, False)
        self.listen()

    def listen(self):
        events = selectors.EVENT_READ if self.pieces_ahead < PIECES_AHEAD else 0
        if self.typed:
            events |= selectors.EVENT_WRITE
        if events == self.events:
            return
        self.agent.forget(self.fd)
        self.events = events
        if events:
            self.agent.watch(self.fd, events, self.exchange)

    def exchange(self):
        if self.typed:
            self.write()
        if self.pieces_ahead < PIECES_AHEAD:
            self.read()
        if self.fd is not None:
            self.listen()

    def read(self):
        """False once there is nothing to read."""
        try:
            chunk = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if not chunk:
            # Nobody has the other end open; the supervisor tells of the shell's end.
            self.pieces_ahead = PIECES_AHEAD
            return False
        text = self.decoder.decode(chunk)
        if text:
            self.pieces_ahead += 1
            self.agent.send_text({"event": "output", "id": self.id, "stream": "stdout"}, text)
        return True

    def write(self):
        try:
            del self.typed[: os.write(self.fd, self.typed)]
        except BlockingIOError:
            pass
        except OSError:
            self.typed.clear()

    def type(self, text):
        # Whoever types faster than the program reads loses what does not fit, as with a real terminal.
        self.typed += text.encode("utf-8", "replace")[: max(0, CHUNK - len(self.typed))]
        self.write()
        self.listen()

    def more(self):
        self.pieces_ahead = max(0, self.pieces_ahead - 1)
        self.listen()

    def resize(self, request):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", request["rows"], request["columns"], 0, 0))

    def kill(self):
        self.supervisor.kill()
        self.end(137)

    def end(self, code):
        if self.terminals.terminals.pop(self.id, None) is None:
            return
        # The last words of the shell, which fit into the terminal's own buffer.
        for _ in range(4):
            if not self.read():
                break
        self.agent.forget(self.fd)
        os.close(self.fd)
        self.fd = None
        self.agent.send({"event": "exit", "id": self.id, "code": code, "variablesLost": False})


def start_shell(fd, environment):
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
            for target in (0, 1, 2):
                os.dup2(fd, target)
            os.chdir(WORKSPACE)
            reset_signals()
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execve(SHELL, [SHELL], environment)
        finally:
            os._exit(126)
    return pid
