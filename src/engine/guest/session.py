"""The inside of the kernel's process: the variables, and how a piece of code runs in them."""

import base64
import fcntl
import json
import os
import signal
import socket
import sys

from processes import PR_SET_DUMPABLE, close_above_stdio, prctl, reset_signals
from settings import CHUNK, HERE
from tracebacks import report

LONGEST_RICH = 6 * 1024 * 1024
LONGEST_RESULT = 256 * 1024
# Where the value of the last expression is put for a moment.
LAST_VALUE = "__execution_value__"
RICH = ("result", "png", "svg", "html", "markdown", "json")


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
        self.user_site = site.getusersitepackages()
        sys.path.append(self.user_site)
        faulthandler.enable(2)
        warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
        # The agent's modules stay alive without being in the way of modules of the same names.
        files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
        own = [name for name, file in files.items() if file and file.startswith(HERE + "/")]
        self.agent_modules = [sys.modules.pop(name) for name in own]
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
            # Remembered as not being there; `pip install --user` may have made it since.
            if sys.path_importer_cache.get(self.user_site, self) is None:
                del sys.path_importer_cache[self.user_site]
            os.environ.update(request["env"])
            if request["workdir"] is not None:
                workdir = os.getcwd()
                os.chdir(request["workdir"])
            self.execute(request["code"], reply)
            self.running = False
        except BaseException as error:
            self.running = False
            reply["code"] = report(self.traceback, error, self.run.__code__.co_filename)
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
