"""Makes a sandbox as bubblewrap does, from those of its options that are used here, where bubblewrap is not to be had.

Runs outside, as the unprivileged user whom the sandbox belongs to. Needs Linux 5.12 and user namespaces.
"""

import ctypes
import fcntl
import os
import signal
import socket
import stat
import struct
import sys

from rights import LIBC, check, drop_bounding_set, drop_capabilities, filter_system_calls, refuse_new_privileges

X64 = os.uname().machine == "x86_64"
# sched.h: user, mount, process, network, IPC, UTS and cgroup namespace.
NAMESPACES = 0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x8000000 | 0x4000000 | 0x2000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
# How many operands each option has; whatever is not listed has none.
OPERANDS = {
    **{"--symlink": 2, "--ro-bind": 2, "--file": 2, "--ro-bind-data": 2, "--setenv": 2},
    **{"--hostname": 1, "--uid": 1, "--gid": 1, "--cap-drop": 1, "--perms": 1, "--size": 1, "--dir": 1},
    **{"--tmpfs": 1, "--proc": 1, "--dev": 1, "--remount-ro": 1, "--seccomp": 1, "--chdir": 1},
}
# Files that take no space in a tmpfs still take memory of the kernel.
INODES = 200_000


def mount(source, target, kind, flags, options=""):
    names = [None if name is None else name.encode() for name in (source, target, kind, options)]
    check(LIBC.mount(names[0], names[1], names[2], ctypes.c_ulong(flags), names[3]), "mount " + target)


def restrict(target, attributes, flags=0):
    setting = struct.pack("QQQQ", attributes, 0, 0, 0)
    number = ctypes.c_long(442)
    check(LIBC.syscall(number, AT_FDCWD, target.encode(), flags, setting, ctypes.c_size_t(32)), "restrict " + target)


def pivot(new, old):
    check(LIBC.syscall(ctypes.c_long(155 if X64 else 41), new.encode(), old.encode()), "pivot_root")


def parse(args):
    """What stands before `--`, as (option, operands), and the command after it."""
    options = []
    position = 0
    while args[position] != "--":
        count = OPERANDS.get(args[position], 0)
        options.append((args[position], args[position + 1 : position + 1 + count]))
        position += 1 + count
    return options, args[position + 1 :]


def contents(fd):
    chunks = []
    while not chunks or chunks[-1]:
        chunks.append(os.pread(fd, 1 << 20, sum(map(len, chunks))))
    return b"".join(chunks)


class Tree:
    """The file system of a sandbox, built below /new while the machine's is at /old."""

    def __init__(self):
        self.perms, self.size = 0o755, None

    def take(self, option, operands):
        build = getattr(self, "on" + option.replace("-", "_"), None)
        if build is None:
            return
        build(*operands)
        if option not in ("--perms", "--size"):
            self.perms, self.size = 0o755, None

    def on__perms(self, mode):
        self.perms = int(mode, 8)

    def on__size(self, size):
        self.size = size

    def on__dir(self, place):
        if not os.path.isdir("/new" + place):
            os.mkdir("/new" + place, self.perms)

    def on__symlink(self, target, place):
        os.symlink(target, "/new" + place)

    def on__file(self, fd, place):
        with open("/new" + place, "xb") as file:
            file.write(contents(int(fd)))
            os.fchmod(file.fileno(), self.perms)

    on__ro_bind_data = on__file

    def on__ro_bind(self, source, place):
        self.bind(source, place)
        restrict("/new" + place, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV, AT_RECURSIVE)

    def on__tmpfs(self, place):
        os.makedirs("/new" + place, exist_ok=True)
        options = "mode=%o,nr_inodes=%d%s" % (self.perms, INODES, ",size=%s" % self.size if self.size else "")
        mount("tmpfs", "/new" + place, "tmpfs", MS_NOSUID | MS_NODEV, options)

    def on__proc(self, place):
        os.makedirs("/new" + place, exist_ok=True)
        mount("proc", "/new" + place, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)

    def on__dev(self, place):
        self.on__tmpfs(place)
        os.chmod("/new" + place, 0o755)
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            self.bind("/dev/" + name, "%s/%s" % (place, name))
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink("/proc/self/fd/%d" % number, "/new%s/%s" % (place, name))
        os.symlink("/proc/self/fd", "/new%s/fd" % place)
        os.symlink("pts/ptmx", "/new%s/ptmx" % place)
        for name in ("shm", "pts"):
            os.mkdir("/new%s/%s" % (place, name), 0o755)
        mount("devpts", "/new%s/pts" % place, "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")

    def on__remount_ro(self, place):
        restrict("/new" + place, ATTR_RDONLY)

    def bind(self, source, place):
        target = "/new" + place
        if stat.S_ISDIR(os.stat("/old" + source).st_mode):
            os.makedirs(target, exist_ok=True)
        elif not os.path.exists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
        mount("/old" + source, target, None, MS_BIND | MS_REC)


def enter(options):
    """Into the file system that the options describe."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    # Links in the way to a source lead somewhere else once this is not the root any more.
    options = [(name, [os.path.realpath(ops[0]), ops[1]] if name == "--ro-bind" else ops) for name, ops in options]
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m,nr_inodes=1024")
    os.mkdir("/tmp/new", 0o755)
    os.mkdir("/tmp/old", 0o755)
    pivot("/tmp", "/tmp/old")
    os.chdir("/")
    mount("/new", "/new", None, MS_BIND)
    tree = Tree()
    for option, operands in options:
        tree.take(option, operands)
    check(LIBC.umount2(b"/old", MNT_DETACH), "umount")
    os.chdir("/new")
    pivot(".", ".")
    check(LIBC.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


def raise_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        # SIOCSIFFLAGS with IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))


def main(args):
    options, command = parse(args)
    given = dict(options)
    uid, gid = os.getuid(), os.getgid()
    check(LIBC.unshare(NAMESPACES), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", "%s %d 1" % (*given["--uid"], uid)),
        ("gid_map", "%s %d 1" % (*given["--gid"], gid)),
    ):
        with open("/proc/self/" + name, "w") as file:
            file.write(text)
    server = os.getppid()
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)
    pid = os.fork()
    if pid > 0:
        # The pipes are the agent's; whoever holds the other ends is to see when it ends.
        os.closerange(0, 2)
        os.waitpid(pid, 0)
        os._exit(0)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.umask(0)
    os.setsid()
    socket.sethostname(*given["--hostname"])
    raise_loopback()
    seccomp_filter = contents(int(*given["--seccomp"]))
    enter(options)
    os.umask(0o022)
    os.chdir(*given["--chdir"])
    environment = dict(operands for name, operands in options if name == "--setenv")
    drop_bounding_set()
    drop_capabilities()
    refuse_new_privileges()
    filter_system_calls(seccomp_filter)
    os.execve(command[0], command, environment)


try:
    main(sys.argv[1:])
except Exception as error:
    os.write(2, ("namespaces: %s\n" % error).encode())
    os._exit(1)
