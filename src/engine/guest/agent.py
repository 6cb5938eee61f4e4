"""Runs inside a sandbox as its PID 1: starts runs, keeps the Python kernel, serves files.

Speaks JSON lines with the host over stdin and stdout. Standard library only, Python 3.9 or newer.
Nothing in here is trusted by the host: code in the sandbox has the same uid.
"""

import os
import sys

# The host waits for this line; the imports below take longer than everything before them.
os.write(1, b'{"event":"hello"}\n')
sys.path[:] = [entry for entry in sys.path if not entry.startswith("/run")]

import base64
import codecs
import collections
import errno
import fcntl
import json
import resource
import selectors
import signal
import socket
import stat
import struct
import termios
import time

HAS_PROC = os.path.exists("/proc/self/stat")

# Descriptors that the server inherited and passed on would be handed to every program in here.
for fd in os.listdir("/proc/self/fd") if HAS_PROC else range(3, 4096):
    if int(fd) > 2:
        try:
            os.close(int(fd))
        except OSError:
            pass

HOST_IN = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 100)
HOST_OUT = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 100)

CONFIG = json.loads(sys.argv[1])
HEAD_CHARS = CONFIG["headChars"]
TAIL_CHARS = CONFIG["tailChars"]
SPILL_BYTES = CONFIG["spillBytes"]
# Of more background processes than that the oldest lose their stdout: the agent's descriptors are limited.
DROPPED_STREAMS = 64
# Together at most half of /tmp: 4 runs, 2 streams each.
SPILLED_RUNS = 4
SPILL_ROOT = "/tmp/.hopx"
FILE_ROOTS = ("/workspace", "/tmp")

# One piece of text or base64 in a line. Escaped, a character takes 6 bytes at most: under the host's 1 MiB a line.
PIECE = 128 * 1024
# What is read from a pipe at a time; also the size asked for the pipes themselves.
CHUNK = 256 * 1024
# A sandbox that nothing was asked of for this long has time to start its kernel.
WARM_UP_SECONDS = 0.1
# A code string longer than this does not fit into one argument of execve (128 KiB).
LONGEST_ARGUMENT = 96 * 1024
# A kernel's reply: images and rich text of one run.
LONGEST_REPLY = 16 * 1024 * 1024
LONGEST_RICH = 6 * 1024 * 1024
LONGEST_RESULT = 256 * 1024
LONGEST_FILE = 64 * 1024 * 1024
CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
# Where the value of the last expression is put for a moment.
LAST_VALUE = "__execution_value__"
RICH = ("result", "png", "svg", "html", "markdown", "json")


def load_libc():
    try:
        import ctypes

        return ctypes.CDLL(None)
    except (ImportError, OSError):
        return None


LIBC = load_libc()
F_SETPIPE_SZ = 1031
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36


def prctl(option, value):
    if LIBC is not None:
        LIBC.prctl(option, value, 0, 0, 0)


def start_ticks():
    """Now, on the scale of a process's start time in /proc/*/stat."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


# --- processes --------------------------------------------------------------------------------------------


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


# --- output -----------------------------------------------------------------------------------------------


class Stream:
    """One output stream of a run: the head goes to the host as it comes, a tail is kept, all of it is counted."""

    def __init__(self, agent, run, name, fd):
        self.agent, self.run, self.name, self.fd = agent, run, name, fd
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.head_chars = 0
        # The head's bytes, until it is known whether a file has to hold them.
        self.held = bytearray()
        self.is_over = False
        self.later_chars = 0
        self.tail = collections.deque()
        self.tail_bytes = 0
        self.spill = None
        self.spill_path = None
        self.spill_room = SPILL_BYTES
        self.dropping = False

    def read(self):
        """One read; False once there is nothing left to come."""
        try:
            chunk = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return False
        if not self.dropping:
            self.take(chunk)
        return True

    def drain(self):
        """Takes what is in the pipe now, and no more: a background process may go on writing for ever."""
        # Twice, because the code may have made the pipe larger than one read.
        for _ in range(2):
            if self.fd is None:
                return
            waiting = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0" * 4))[0]
            if waiting == 0 or not self.read():
                return

    def take(self, chunk):
        if self.is_over:
            self.write_spill(chunk)
            self.keep(chunk)
            return
        self.held += chunk
        self.take_head(self.decoder.decode(chunk))

    def take_head(self, text):
        shown = text[: HEAD_CHARS - self.head_chars]
        if shown:
            self.head_chars += len(shown)
            self.agent.send_text({"event": "output", "id": self.run.id, "stream": self.name}, shown)
        if len(shown) < len(text):
            self.is_over = True
            self.open_spill()
            self.write_spill(self.held)
            self.held = bytearray()
            self.keep(text[len(shown) :].encode() + self.decoder.getstate()[0])

    def keep(self, chunk):
        # Counting is several times faster than decoding, and exact for valid UTF-8.
        self.later_chars += len(chunk) if chunk.isascii() else len(chunk.translate(None, CONTINUATION_BYTES))
        self.tail.append(chunk)
        self.tail_bytes += len(chunk)
        while self.tail_bytes - len(self.tail[0]) >= TAIL_CHARS * 4:
            self.tail_bytes -= len(self.tail.popleft())

    def open_spill(self):
        try:
            path = os.path.join(self.agent.run_directory(self.run), self.name)
            self.spill = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            self.spill_path = path
        except OSError:
            self.spill_room = 0

    def write_spill(self, chunk):
        if self.spill_room <= 0:
            return
        try:
            self.spill_room -= os.write(self.spill, chunk[: self.spill_room])
        except OSError:
            self.spill_room = 0

    def finish(self):
        """Sends what is still owed to the host; whatever comes later is read and dropped."""
        self.drain()
        if not self.is_over:
            self.take_head(self.decoder.decode(b"", True))
        self.dropping = True
        self.agent.drop(self)
        self.held = bytearray()
        if self.spill is not None:
            os.close(self.spill)
        if not self.is_over:
            return
        kept = b"".join(self.tail)
        self.tail.clear()
        if self.later_chars > TAIL_CHARS:
            kept = kept.lstrip(CONTINUATION_BYTES)
        tail = kept.decode("utf-8", "replace")[-TAIL_CHARS:]
        left_out = max(0, self.later_chars - len(tail))
        cut = {"event": "cut", "id": self.run.id, "stream": self.name, "leftOutChars": left_out}
        if self.spill_path is not None:
            cut["path"] = self.spill_path
        self.agent.send(cut)
        self.agent.send_text({"event": "output", "id": self.run.id, "stream": self.name}, tail)

    def close(self):
        if self.fd is not None:
            self.agent.forget(self.fd)
            os.close(self.fd)
            self.fd = None


class Run:
    def __init__(self, request):
        self.id = request["id"]
        self.language = request["language"]
        self.streams = []
        self.supervisor = None
        self.started = start_ticks()
        self.interrupted = False


# --- the agent --------------------------------------------------------------------------------------------


class Agent:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.outbox = bytearray()
        self.inbox = bytearray()
        self.runs = {}
        self.supervisors = set()
        self.kernel = None
        self.kernel_tried = False
        self.kernel_lost = False
        self.readers = collections.deque()
        self.spilled = collections.deque()
        self.dropped = collections.deque()

    def watch(self, fd, events, callback):
        self.selector.register(fd, events, callback)

    def forget(self, fd):
        try:
            self.selector.unregister(fd)
        except KeyError:
            pass

    def serve(self):
        self.wake_fd, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        os.set_blocking(HOST_IN, False)
        os.set_blocking(HOST_OUT, False)
        self.watch(HOST_IN, selectors.EVENT_READ, self.read_host)
        self.watch(self.wake_fd, selectors.EVENT_READ, self.child_ended)
        while True:
            self.flush()
            ready = self.selector.select(None if self.kernel_tried else WARM_UP_SECONDS)
            if not ready and not self.kernel_tried:
                self.warm_up()
            for key, _ in ready:
                # An earlier callback of this round may have closed it.
                if self.selector.get_map().get(key.fd) is key:
                    key.data()

    def warm_up(self):
        """Starts the kernel before it is needed, but not while sandboxes may be starting by the dozen."""
        self.kernel_tried = True
        try:
            self.kernel = Kernel(self)
        except OSError:
            pass

    # host

    def send(self, event):
        self.outbox += json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        self.outbox += b"\n"

    def send_text(self, event, text):
        for start in range(0, len(text), PIECE):
            self.send({**event, "text": text[start : start + PIECE]})

    def fail(self, request_id, code, message):
        self.send({"event": "failed", "id": request_id, "code": code, "message": message[:300]})

    def flush(self):
        while self.outbox or self.readers:
            if not self.outbox:
                self.continue_reading()
                continue
            try:
                sent = os.write(HOST_OUT, memoryview(self.outbox)[:CHUNK])
            except BlockingIOError:
                break
            except OSError:
                os._exit(0)
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
            os._exit(0)
        self.inbox += chunk
        if b"\n" not in chunk:
            return
        *lines, rest = self.inbox.split(b"\n")
        self.inbox = bytearray(rest)
        for line in lines:
            request = json.loads(line)
            try:
                getattr(self, "on_" + request["op"])(request)
            except (OSError, ValueError) as error:
                self.fail(request["id"], *describe(error))

    # runs

    def on_run(self, request):
        run = Run(request)
        if "workdir" in request:
            request["workdir"] = os.path.join("/workspace", request["workdir"])
            if not os.path.isdir(request["workdir"]):
                self.fail(run.id, "INVALID_REQUEST", "workdir is not a directory in the sandbox: " + request["workdir"])
                return
        ends = [self.open_pipe(), self.open_pipe()]
        writers = [write for _, write in ends]
        try:
            for name, (read, _) in zip(("stdout", "stderr"), ends):
                run.streams.append(Stream(self, run, name, read))
            self.runs[run.id] = run
            if run.language == "python":
                self.start_python(run, request, writers)
            else:
                self.start_command(run, request, writers)
        except OSError as error:
            del self.runs[run.id]
            for stream in run.streams:
                stream.close()
            self.fail(run.id, "SERVICE_UNAVAILABLE", "the sandbox cannot start the run: " + os.strerror(error.errno))
            return
        finally:
            for fd in writers:
                os.close(fd)
        for stream in run.streams:
            self.watch(stream.fd, selectors.EVENT_READ, stream.read)

    def drop(self, stream):
        """Goes on emptying the pipe of a run that ended, for what it left in the background."""
        self.dropped.append(stream)
        if len(self.dropped) > DROPPED_STREAMS:
            self.dropped.popleft().close()

    def open_pipe(self):
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        try:
            fcntl.fcntl(read, F_SETPIPE_SZ, CHUNK)
        except OSError:
            pass
        return read, write

    def run_directory(self, run):
        path = os.path.join(SPILL_ROOT, run.id)
        if not os.path.isdir(path):
            os.makedirs(path)
            self.spilled.append(path)
            while len(self.spilled) > SPILLED_RUNS:
                remove_tree(self.spilled.popleft())
        return path

    def start_python(self, run, request, writers):
        if self.kernel is None:
            self.kernel_tried = True
            self.kernel = Kernel(self)
        self.kernel.execute(run, request, writers)

    def start_command(self, run, request, writers):
        code = request["code"].encode("utf-8", "replace")
        argv = list(CONFIG["commands"][run.language])
        feed = None
        if argv[-1] == "-":
            stdin, feed = os.pipe2(os.O_CLOEXEC)
        else:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            if run.language == "bash" and len(code) <= LONGEST_ARGUMENT:
                argv += ["-c", code]
            else:
                argv.append(self.store_code(run, code))
        environment = {**os.environ, **request["env"]}
        workdir = request.get("workdir", "/workspace")
        try:
            start = lambda: start_program(argv, environment, workdir, (stdin, *writers))
            run.supervisor = Supervisor(self, start, lambda code: self.end(run, code))
        except OSError:
            if feed is not None:
                os.close(feed)
            raise
        finally:
            os.close(stdin)
        if feed is not None:
            self.feed(feed, code)

    def store_code(self, run, code):
        path = os.path.join(self.run_directory(run), "main.go" if run.language == "go" else "main.sh")
        with open(path, "xb") as file:
            file.write(code)
        return path

    def feed(self, fd, code):
        """Writes the code into a program's stdin as fast as it takes it."""
        os.set_blocking(fd, False)
        left = memoryview(code)

        def write():
            nonlocal left
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:
                return
            except OSError:
                left = left[:0]
            if not left:
                self.forget(fd)
                os.close(fd)

        self.watch(fd, selectors.EVENT_WRITE, write)
        write()

    def end(self, run, code, variables_lost=False):
        if self.runs.pop(run.id, None) is None:
            return
        for stream in run.streams:
            stream.finish()
        self.send({"event": "exit", "id": run.id, "code": code, "variablesLost": variables_lost})

    def on_interrupt(self, request):
        run = self.runs.get(request["id"])
        if run is None:
            return
        run.interrupted = True
        if run.supervisor is not None:
            self.on_kill(request)
        else:
            self.kernel.interrupt(run)

    def on_kill(self, request):
        run = self.runs.get(request["id"])
        if run is None:
            return
        if not HAS_PROC:
            self.kill_everything()
        elif run.supervisor is not None:
            run.supervisor.kill()
            self.end(run, 137)
        else:
            self.kernel.kill()
            self.end(run, 137, variables_lost=True)

    def kill_all(self, find):
        """Kills what `find(table)` names; everything is stopped while it looks, so that no fork escapes."""
        victims = find(stop_all())
        for pid in victims:
            send_signal(pid, signal.SIGKILL)
        send_signal(-1, signal.SIGCONT)
        # Dying takes a moment, and what is not reaped counts against the limit of processes.
        for _ in range(100):
            self.reap()
            if not victims & processes().keys():
                break
            time.sleep(0.001)

    def kill_everything(self):
        """Without /proc nobody can say what belongs to which run; the signal spares only PID 1."""
        send_signal(-1, signal.SIGKILL)
        for run in list(self.runs.values()):
            if run.supervisor is not None:
                run.supervisor.close()
            self.end(run, 137, variables_lost=run.supervisor is None)
        if self.kernel is not None:
            self.kernel_lost = self.kernel.run is None
            self.kernel.supervisor.close()
            self.kernel.close()

    def strays(self, table):
        """Processes whose supervisor is gone: nobody can say any more which run they belong to."""
        found = set()
        for pid, (parent, *_) in table.items():
            if parent == 1 and pid not in self.supervisors:
                found |= below(pid, table) | {pid}
        return found

    def child_ended(self):
        try:
            os.read(self.wake_fd, 4096)
        except BlockingIOError:
            pass
        self.reap()

    def reap(self):
        try:
            while True:
                pid, _ = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self.supervisors.discard(pid)
        except ChildProcessError:
            pass

    # files

    def on_write(self, request):
        path = allowed_path(request["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        if not request["overwrite"]:
            flags |= os.O_EXCL
        fd = os.open(path, flags, 0o644)
        try:
            require_regular(fd)
            os.ftruncate(fd, 0)
            left = memoryview(base64.b64decode(request["data"]))
            while left:
                left = left[os.write(fd, left) :]
            if "mode" in request:
                os.fchmod(fd, request["mode"])
        finally:
            os.close(fd)
        self.send({"event": "done", "id": request["id"]})

    def on_read(self, request):
        fd = os.open(allowed_path(request["path"]), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = require_regular(fd).st_size
            if size > LONGEST_FILE:
                raise OSError(errno.EFBIG, "the file has %d bytes, the most is %d" % (size, LONGEST_FILE))
        except OSError:
            os.close(fd)
            raise
        self.readers.append((request["id"], fd, size))

    def continue_reading(self):
        request_id, fd, left = self.readers.popleft()
        # A multiple of 3, so that the base64 of the pieces joins.
        piece = os.read(fd, min(left, PIECE * 3))
        if piece:
            self.send({"event": "data", "id": request_id, "base64": base64.b64encode(piece).decode()})
            self.readers.append((request_id, fd, left - len(piece)))
        else:
            os.close(fd)
            self.send({"event": "done", "id": request_id})


def allowed_path(path):
    real = os.path.realpath(os.path.join("/workspace", path))
    if not any(real.startswith(root + "/") for root in FILE_ROOTS):
        raise OSError(errno.EACCES, "the path is not under /workspace or /tmp")
    return real


def require_regular(fd):
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return status


CODES = {
    errno.ENOENT: "RESOURCE_NOT_FOUND",
    errno.EEXIST: "CONFLICT",
    errno.EACCES: "FORBIDDEN",
    errno.EPERM: "FORBIDDEN",
    errno.EROFS: "FORBIDDEN",
}


def describe(error):
    if isinstance(error, OSError):
        return CODES.get(error.errno, "INVALID_REQUEST"), error.strerror or str(error)
    return "INVALID_REQUEST", str(error)


def remove_tree(path):
    # Only what the agent itself put there; anything else stays.
    try:
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
    except OSError:
        pass


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


class Supervisor:
    """A process that starts the main one of a run or kernel, and reaps whatever that leaves behind."""

    def __init__(self, agent, start, on_end):
        self.agent, self.on_end = agent, on_end
        # Two numbers come: the main process's pid, and in the end its status.
        self.told = b""
        self.fd, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                supervise(start, theirs)
        except OSError:
            os.close(self.fd)
            raise
        finally:
            os.close(theirs)
        agent.supervisors.add(self.pid)
        agent.watch(self.fd, selectors.EVENT_READ, self.read)

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
        root = self.pid if self.pid in self.agent.supervisors else None
        own = lambda table: (below(root, table) | {root}) & table.keys()
        self.agent.kill_all(lambda table: own(table) | self.agent.strays(table))

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


# --- the Python kernel: host side of it -------------------------------------------------------------------


class Kernel:
    """The process in which Python runs keep their variables."""

    def __init__(self, agent):
        self.agent = agent
        self.run = None
        self.inbox = bytearray()
        self.outbox = b""
        self.socket, theirs = socket.socketpair()
        try:
            self.supervisor = Supervisor(agent, lambda: start_kernel(theirs), self.died)
        finally:
            theirs.close()
        self.socket.setblocking(False)
        agent.watch(self.socket.fileno(), selectors.EVENT_READ, self.read)

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
            self.agent.kill_all(self.started_since(run))
        for kind, text in rich.items():
            self.agent.send_text({"event": "rich", "id": run.id, "kind": kind}, text)
        lost, self.agent.kernel_lost = self.agent.kernel_lost, False
        self.agent.end(run, code, lost)

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
            self.agent.end(self.run, code, variables_lost=True)
        else:
            self.agent.kernel_lost = True

    def close(self):
        self.agent.kernel = None
        if self.socket.fileno() >= 0:
            self.agent.forget(self.socket.fileno())
            self.socket.close()


# --- the Python kernel: inside the process ----------------------------------------------------------------


def start_kernel(channel):
    pid = os.fork()
    if pid == 0:
        try:
            interpret(channel)
        finally:
            os._exit(70)
    return pid


def interpret(channel):
    """The kernel's main loop; returns only when the agent is gone."""
    kernel_fd = fcntl.fcntl(channel.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)
    close_above_stdio(kernel_fd)
    channel.detach()
    channel = socket.socket(fileno=kernel_fd)
    reset_signals()
    os.setsid()
    prctl(PR_SET_DUMPABLE, 1)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for target in (0, 1, 2):
        os.dup2(null, target)
    session = Session()
    inbox = b""
    fds = []
    while True:
        chunk, received, _, _ = socket.recv_fds(channel, CHUNK, 2)
        if not chunk:
            return
        inbox += chunk
        fds += received
        if not inbox.endswith(b"\n"):
            continue
        request, inbox = json.loads(inbox), b""
        for target, fd in zip((1, 2), fds):
            os.dup2(fd, target)
            os.close(fd)
        fds = []
        reply = session.run(request)
        os.dup2(null, 1)
        os.dup2(null, 2)
        channel.sendall(json.dumps(reply).encode() + b"\n")


class Session:
    """The variables of one kernel, and how a piece of code runs in them."""

    def __init__(self):
        # The compiled part of ast: all that is needed here, at a tenth of the time and memory.
        import _ast
        import faulthandler
        import io
        import linecache
        import site
        import traceback
        import types
        import warnings

        self.ast, self.io, self.linecache, self.traceback = _ast, io, linecache, traceback
        sys.path.insert(0, "")
        sys.argv = [""]
        site.main()
        # Packages that a run installs with `pip install --user` may come after this kernel.
        sys.path.append(site.getusersitepackages())
        faulthandler.enable(2)
        warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
        self.supervisor_module = sys.modules["__main__"]
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self.variables = module.__dict__
        self.pid = os.getpid()
        self.count = 0
        self.loop = None
        self.running = False
        self.streams = {}

    def run(self, request):
        for name in ("stdin", "stdout", "stderr"):
            stream = self.streams.get(name)
            if stream is None or stream.closed:
                stream = self.open_stream(name)
                self.streams[name] = stream
            setattr(sys, name, stream)
        signal.signal(signal.SIGINT, self.interrupt)
        before = {name: os.environ.get(name) for name in request["env"]}
        workdir = None
        reply = {"code": 0}
        try:
            self.running = True
            os.environ.update(request["env"])
            if request["workdir"] is not None:
                workdir = os.getcwd()
                os.chdir(request["workdir"])
            self.execute(request["code"], reply)
            self.running = False
        except BaseException as error:
            self.running = False
            reply["code"] = self.report(error)
        for stream in (sys.stdout, sys.stderr, self.streams["stdout"], self.streams["stderr"]):
            try:
                stream.flush()
            except Exception:
                pass
        if os.getpid() != self.pid:
            # The code forked, and the child came out at the end of it.
            os._exit(reply["code"])
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if workdir is not None:
            os.chdir(workdir)
        return reply

    def open_stream(self, name):
        if name == "stdin":
            return open(0, closefd=False)
        raw = self.io.FileIO(1 if name == "stdout" else 2, "w", closefd=False)
        return self.io.TextIOWrapper(
            self.io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )

    def interrupt(self, number, frame):
        if self.running:
            raise KeyboardInterrupt

    def execute(self, code, reply):
        self.count += 1
        filename = "<execution %d>" % self.count
        self.linecache.cache[filename] = (len(code), None, code.splitlines(True), filename)
        self.linecache.cache.pop("<execution %d>" % (self.count - 500), None)
        try:
            self.evaluate_all(code, filename, reply)
        finally:
            if not isinstance(sys.exc_info()[1], KeyboardInterrupt):
                self.collect_figures(reply)

    def evaluate_all(self, code, filename, reply):
        tree = compile(code, filename, "exec", self.ast.PyCF_ONLY_AST, dont_inherit=True)
        if tree.body and isinstance(tree.body[-1], self.ast.Expr):
            last = tree.body[-1]
            place = {name: getattr(last, name) for name in last._attributes}
            target = self.ast.Name(LAST_VALUE, self.ast.Store(), **place)
            tree.body[-1] = self.ast.Assign([target], last.value, **place)
        compiled = compile(tree, filename, "exec", self.ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        try:
            awaited = eval(compiled, self.variables)
            # inspect.CO_COROUTINE: the code awaits at its top level.
            if compiled.co_flags & 0x80:
                self.wait_for(awaited)
        finally:
            value = self.variables.pop(LAST_VALUE, None)
        if value is not None:
            self.present(value, reply)

    def wait_for(self, coroutine):
        import asyncio

        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        task = self.loop.create_task(coroutine)
        try:
            return self.loop.run_until_complete(task)
        finally:
            if not task.done():
                task.cancel()
                self.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))

    def present(self, value, reply):
        text = repr(value)
        if len(text) > LONGEST_RESULT:
            text = "%s… [%d characters left out]" % (text[:LONGEST_RESULT], len(text) - LONGEST_RESULT)
        reply["result"] = text
        if isinstance(value, type):
            return
        for kind in RICH[1:]:
            method = getattr(type(value), "_repr_%s_" % kind, None)
            if method is None:
                continue
            try:
                self.attach(reply, kind, method(value))
            except Exception:
                self.traceback.print_exc()

    def attach(self, reply, kind, content):
        if isinstance(content, tuple):
            content = content[0]
        if content is None:
            return
        if kind == "json":
            content = json.dumps(content)
        elif isinstance(content, bytes):
            content = base64.b64encode(content).decode() if kind == "png" else content.decode("utf-8", "replace")
        if len(content) > LONGEST_RICH:
            print("[sandbox] %s left out: %d bytes, the most is %d" % (kind, len(content), LONGEST_RICH), file=sys.stderr)
        elif isinstance(content, str):
            reply[kind] = content

    def collect_figures(self, reply):
        plots = sys.modules.get("matplotlib.pyplot")
        if plots is None:
            return
        numbers = plots.get_fignums()
        if not numbers:
            return
        if len(numbers) > 1:
            note = "[sandbox] %d figures are open; the last one is shown, the others need savefig" % len(numbers)
            print(note, file=sys.stderr)
        image = self.io.BytesIO()
        plots.figure(numbers[-1]).savefig(image, format="png", bbox_inches="tight")
        self.attach(reply, "png", image.getvalue())
        plots.close("all")

    def report(self, error):
        """Prints what ended the run, without the kernel's own frames; returns the exit code."""
        if isinstance(error, SystemExit):
            if error.code is None or isinstance(error.code, int):
                return (error.code or 0) & 0xFF
            print(error.code, file=sys.stderr)
            return 1
        try:
            # Shown oldest first; a chain of causes leads back through each of them.
            shown = self.traceback.TracebackException(type(error), error, error.__traceback__)
            self.leave_out_kernel(shown)
            print("".join(shown.format()), end="", file=sys.stderr)
        except Exception as unprintable:
            print("%s (%s)" % (type(error).__name__, type(unprintable).__name__), file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1

    def leave_out_kernel(self, shown):
        own = self.run.__code__.co_filename
        queue = [shown]
        while queue:
            part = queue.pop()
            if part is not None:
                frames = [frame for frame in part.stack if frame.filename != own]
                of_code = [index for index, frame in enumerate(frames) if frame.filename.startswith("<execution ")]
                part.stack[:] = frames[of_code[0] if of_code else 0 :]
                queue += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]


def main():
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for target in (0, 1):
        os.dup2(null, target)
    prctl(PR_SET_DUMPABLE, 0)
    for name, value in CONFIG["rlimits"].items():
        number = getattr(resource, "RLIMIT_" + name)
        _, hard = resource.getrlimit(number)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (limit, limit))
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass
    Agent().serve()


if __name__ == "__main__":
    main()
