"""Runs of code: starts them, and ends them."""

import collections
import os
import selectors

from artifacts import Artifacts
from files import remove_tree
from kernel import Kernel
from output import Stream, open_pipe
from places import TMP, WORKSPACE, located, named
from processes import HAS_PROC, start_program, start_ticks
from settings import CONFIG
from supervisors import Supervisor, Supervisors

# Of more background processes than that the oldest lose their stdout: the agent's descriptors are limited.
DROPPED_STREAMS = 64
# What runs leave in files: a few of them, and together no more than one run may with its two streams.
SPILLED_RUNS = 4
SPILLED_BYTES = 2 * CONFIG["spillBytes"]
SPILL_ROOT = TMP + "/.hopx"
# A code string longer than this does not fit into one argument of execve (128 KiB).
LONGEST_ARGUMENT = 96 * 1024


class Run:
    def __init__(self, request):
        self.id = request["id"]
        self.language = request["language"]
        self.streams = []
        self.spilled_bytes = 0
        self.supervisor = None
        self.started = start_ticks()
        self.interrupted = False
        self.artifacts = Artifacts()


class Runs:
    def __init__(self, agent):
        self.agent = agent
        self.supervisors = Supervisors(agent)
        self.runs = {}
        self.kernel = None
        self.kernel_lost = False
        self.spilled = collections.deque()
        self.dropped = collections.deque()

    def prepare(self, request):
        """Starts the kernel before it is needed."""
        try:
            self.kernel = self.kernel or Kernel(self)
        except OSError:
            pass

    def start(self, request):
        run = Run(request)
        if "workdir" in request:
            request["workdir"] = located(request["workdir"])
            if not os.path.isdir(request["workdir"]):
                why = "workdir is not a directory in the sandbox: " + named(request["workdir"])
                self.agent.fail(run.id, "INVALID_REQUEST", why)
                return
        ends = [open_pipe(), open_pipe()]
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
            why = "the sandbox cannot start the run: " + os.strerror(error.errno)
            self.agent.fail(run.id, "SERVICE_UNAVAILABLE", why)
            return
        finally:
            for fd in writers:
                os.close(fd)
        for stream in run.streams:
            self.agent.watch(stream.fd, selectors.EVENT_READ, stream.read)

    def drop(self, stream):
        """Goes on emptying the pipe of a run that ended, for what it left in the background."""
        self.dropped.append(stream)
        if len(self.dropped) > DROPPED_STREAMS:
            self.dropped.popleft().close()

    def directory_of(self, run):
        path = os.path.join(SPILL_ROOT, run.id)
        if not os.path.isdir(path):
            os.makedirs(path)
            self.spilled.append(run)
            self.make_room()
        return path

    def make_room(self):
        """The files of the oldest runs give way to newer ones."""
        while len(self.spilled) > SPILLED_RUNS or sum(run.spilled_bytes for run in self.spilled) > SPILLED_BYTES:
            remove_tree(os.path.join(SPILL_ROOT, self.spilled.popleft().id))

    def start_python(self, run, request, writers):
        if self.kernel is None:
            self.kernel = Kernel(self)
        self.kernel.execute(run, request, writers)

    def start_command(self, run, request, writers):
        code = request["code"].encode("utf-8", "replace")
        argv = list(CONFIG["commands"][run.language])
        feed = None
        if argv[-1] == "-":
            stdin, feed = os.pipe()
        else:
            stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            if run.language == "bash" and len(code) <= LONGEST_ARGUMENT:
                argv += ["-c", code]
            else:
                argv.append(self.store_code(run, code))
        environment = {**os.environ, **request["env"]}
        workdir = request.get("workdir", WORKSPACE)
        try:
            start = lambda: start_program(argv, environment, workdir, (stdin, *writers))
            run.supervisor = Supervisor(self.supervisors, start, lambda code: self.end(run, code))
        except OSError:
            if feed is not None:
                os.close(feed)
            raise
        finally:
            os.close(stdin)
        if feed is not None:
            self.feed(feed, code)

    def store_code(self, run, code):
        path = os.path.join(self.directory_of(run), "main.go" if run.language == "go" else "main.sh")
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
                self.agent.forget(fd)
                os.close(fd)

        self.agent.watch(fd, selectors.EVENT_WRITE, write)
        write()

    def end(self, run, code, variables_lost=False):
        if self.runs.pop(run.id, None) is None:
            return
        for stream in run.streams:
            stream.finish()
        event = {"event": "exit", "id": run.id, "code": code, "variablesLost": variables_lost}
        self.agent.send({**event, **run.artifacts.found()})

    def interrupt(self, request):
        run = self.runs.get(request["id"])
        if run is None:
            return
        run.interrupted = True
        if run.supervisor is not None:
            self.kill(request)
        else:
            self.kernel.interrupt(run)

    def kill(self, request):
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

    def kill_everything(self):
        """Without /proc nobody can say what belongs to which run; the signal spares only PID 1."""
        self.supervisors.kill_everything()
        for run in list(self.runs.values()):
            if run.supervisor is not None:
                run.supervisor.close()
            self.end(run, 137, variables_lost=run.supervisor is None)
        if self.kernel is not None:
            self.kernel_lost = self.kernel.run is None
            self.kernel.supervisor.close()
            self.kernel.close()
