"""What hostile code tries. Each probe answers true if it reached what a sandbox must keep from it.

Runs the same inside a sandbox and, as the control, outside of one. `WORLD` (set above this text) says where
things are; without it the probes are listed. `needs` is why a control may fail although the probe is right.
"""

import ctypes, errno, json, mmap, os, resource, select, signal, socket, struct, subprocess, sys, threading, time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
X64 = os.uname().machine == "x86_64"
MIB = 1024 * 1024
# How every secret begins; the rest is not told, so that no probe finds it in its own text.
SECRET = b"secret-"
NEWNS, NEWCGROUP, NEWUSER, NEWPID, NEWNET = 0x20000, 0x2000000, 0x10000000, 0x20000000, 0x40000000
PROBES = []


def probe(name, needs=None):
    return lambda run: PROBES.append((name, needs, run)) or run


def syscall(x64, arm64, *args):
    number = x64 if X64 else arm64
    if number is None:
        raise OSError(errno.ENOSYS, "not on this architecture")
    args = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = LIBC.syscall(ctypes.c_long(number), *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def unshare(flags):
    return syscall(272, 97, flags) == 0


def mount(source, target, kind, flags=0):
    return syscall(165, 40, source, target, kind, flags, 0) == 0


def opens(family, kind=socket.SOCK_DGRAM, protocol=0):
    socket.socket(family, kind, protocol).close()
    return True


def reaches(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        client.connect(address)
        return client.recv(64).startswith(SECRET)


def writes(path):
    os.close(os.open(path, os.O_WRONLY))
    return True


def holds_secret(path):
    with open(path, "rb") as file:
        return SECRET in file.read(65536)


# --- files ------------------------------------------------------------------------------------------------

@probe("file: read a secret of the user")
def _(): return holds_secret(WORLD["secretFile"])

@probe("file: read a secret through a symbolic link")
def _():
    os.symlink(WORLD["secretFile"], "link")
    return holds_secret("link")

@probe("file: read a secret through a hard link", "both on one file system")
def _():
    os.link(WORLD["secretFile"], "hard-link")
    return holds_secret("hard-link")

@probe("file: read a secret through the working directory of the supervisor")
def _(): return holds_secret("/proc/%d/cwd/%s" % (WORLD["supervisor"], WORLD["secretFile"]))

@probe("file: read a secret through the root of the supervisor")
def _(): return holds_secret("/proc/%d/root%s" % (WORLD["supervisor"], WORLD["secretFile"]))

@probe("file: write beside the user's files")
def _(): return writes(WORLD["openFile"])

@probe("file: read a descriptor that was left open")
def _(): return any(SECRET in os.pread(fd, 64, 0) for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2 and os.path.isfile("/proc/self/fd/%d" % fd))

@probe("file: read the environment of the server")
def _(): return any(value.startswith(SECRET.decode()) for value in os.environ.values())

@probe("file: list the users of the machine")
def _(): return "daemon" in open("/etc/passwd").read()

@probe("file: read the passwords of the machine", "root")
def _(): return len(open("/etc/shadow").read()) > 0

@probe("file: list the homes")
def _(): return len(os.listdir("/home")) >= 0

@probe("file: write to /usr", "root")
def _(): return writes("/usr/bin/env")

@probe("file: write to /etc", "root")
def _(): return writes("/etc/passwd")

@probe("file: find a device of the machine")
def _(): return bool(set(os.listdir("/dev")) - {"console", "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"})

@probe("file: make a device", "root")
def _():
    os.mknod("disk", 0o60600, os.makedev(8, 0))
    return True

@probe("file: open a file by its handle", "root")
def _():
    handle = ctypes.create_string_buffer(struct.pack("Ii", 8, 1) + bytes(64))
    return syscall(304, 265, os.open("/", os.O_RDONLY), handle, 0) >= 0

@probe("file: ask for the handle of a file", "a file system that has them")
def _():
    handle, mount_id = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128)), ctypes.c_int()
    return syscall(303, 264, -100, b"/usr", handle, ctypes.byref(mount_id), 0) == 0

@probe("file: gain rights from setuid programs")
def _(): return "NoNewPrivs:\t0" in open("/proc/self/status").read()


def changes(path, change):
    """Whether what is told of a file is different after it."""
    before = os.stat(path)
    change(path)
    after = os.stat(path)
    return (before.st_mode, before.st_mtime_ns) != (after.st_mode, after.st_mtime_ns)

@probe("file: date one of the user's")
def _(): return changes(WORLD["openFile"], os.utime)

@probe("file: change the mode of one of the user's", "the same user")
def _(): return changes(WORLD["openFile"], lambda path: os.chmod(path, os.stat(path).st_mode ^ 1))

@probe("file: change the mode of one of the user's that is open", "the same user")
def _(): return changes(sys.executable, lambda path: os.fchmod(os.open(path, os.O_RDONLY), os.stat(path).st_mode ^ 1))

@probe("file: mark one of the user's", "a file system with attributes")
def _(): return os.setxattr(WORLD["openFile"], "user.abuse", b"x") is None

@probe("file: empty one of the user's")
def _(): return os.truncate(WORLD["openFile"], os.stat(WORLD["openFile"]).st_size) is None

@probe("file: watch what happens beside the user's files")
def _(): return LIBC.inotify_add_watch(LIBC.inotify_init1(0), os.path.dirname(WORLD["secretFile"]).encode(), 0xFFF) > 0


# --- /proc and /sys ---------------------------------------------------------------------------------------

for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger"):
    probe("proc: write " + path, "root")(lambda path=path: writes(path))

for path in ("/proc/kcore", "/proc/kmsg"):
    probe("proc: read " + path, "root")(lambda path=path: os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1) is not None)

@probe("sys: look at the hardware")
def _(): return len(os.listdir("/sys/class")) > 0

@probe("sys: write", "root")
def _(): return writes("/sys/kernel/uevent_helper") or writes("/sys/power/state")

@probe("proc: be the last that is ended when memory is short")
def _():
    with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
        return file.write(b"0") == 1


# --- processes --------------------------------------------------------------------------------------------

@probe("process: see one of the user's")
def _():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if WORLD["marker"].encode() in open("/proc/%s/cmdline" % pid, "rb").read():
                return True
        except OSError:
            pass

@probe("process: signal one of the user's")
def _(): return os.kill(WORLD["victim"], 0) is None

@probe("process: signal through a pidfd")
def _(): return signal.pidfd_send_signal(os.pidfd_open(WORLD["victim"]), 0) is None

@probe("process: slow one of the user's down")
def _(): return os.setpriority(os.PRIO_PROCESS, WORLD["victim"], 5) is None

@probe("process: slow all of the user's down, as they are its own")
def _(): return WORLD["victim"] > 1 and os.setpriority(os.PRIO_USER, 0, 5) is None and os.getpriority(os.PRIO_PROCESS, WORLD["victim"]) == 5

@probe("process: limit one of the user's")
def _(): return resource.prlimit(WORLD["victim"], resource.RLIMIT_CORE, (0, 0)) is not None

@probe("process: say where one of the user's runs")
def _(): return os.sched_setaffinity(WORLD["victim"], os.sched_getaffinity(0)) is None

def stops_supervisor(stop):
    stop()
    time.sleep(0.05)
    stopped = open("/proc/%d/stat" % WORLD["supervisor"]).read().rpartition(")")[2].split()[0] == "T"
    os.kill(WORLD["supervisor"], signal.SIGCONT)
    return stopped

@probe("process: stop the supervisor")
def _(): return stops_supervisor(lambda: os.kill(WORLD["supervisor"], signal.SIGSTOP))

@probe("process: stop the supervisor as the owner of a socket")
def _():
    import fcntl
    here, there = socket.socketpair()
    def stop():
        # FIOSETOWN; F_SETSIG
        fcntl.ioctl(here, 0x8901, struct.pack("i", WORLD["supervisor"]))
        fcntl.fcntl(here, 10, signal.SIGSTOP)
        fcntl.fcntl(here, fcntl.F_SETFL, fcntl.fcntl(here, fcntl.F_GETFL) | os.O_ASYNC)
        there.send(b"x")
    return stops_supervisor(stop)

@probe("process: trace the supervisor", "kernel.yama.ptrace_scope of 0")
def _():
    # PTRACE_SEIZE
    return syscall(101, 117, 0x4206, WORLD["supervisor"], 0, 0) == 0

@probe("process: trace a sibling", "kernel.yama.ptrace_scope of 0")
def _():
    with subprocess.Popen(["sleep", "5"]) as sibling:
        try:
            return syscall(101, 117, 0x4206, sibling.pid, 0, 0) == 0
        finally:
            sibling.kill()

@probe("process: read the memory of the supervisor", "kernel.yama.ptrace_scope of 0")
def _(): return os.open("/proc/%d/mem" % WORLD["supervisor"], os.O_RDONLY) > 0

@probe("process: copy memory from a sibling", "kernel.yama.ptrace_scope of 0")
def _():
    buffer, victim = ctypes.create_string_buffer(8), ctypes.create_string_buffer(b"secret!!")
    pid = os.fork()
    if pid == 0:
        time.sleep(2)
        os._exit(0)
    mine = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    theirs = (ctypes.c_size_t * 2)(ctypes.addressof(victim), 8)
    return syscall(310, 270, pid, mine, 1, theirs, 1, 0) == 8

@probe("process: read the environment of the supervisor", "kernel.yama.ptrace_scope of 0")
def _(): return open("/proc/%d/environ" % WORLD["supervisor"]).read() is not None

@probe("process: write to the channel of the supervisor, as a guest that lies")
def _():
    return any(writes("/proc/%d/fd/%s" % (WORLD["supervisor"], fd)) for fd in os.listdir("/proc/%d/fd" % WORLD["supervisor"]))

@probe("process: take a descriptor of the supervisor", "kernel.yama.ptrace_scope of 0")
def _(): return syscall(438, 438, os.pidfd_open(WORLD["supervisor"]), 1, 0) >= 0

@probe("process: compare kernel objects", "kernel.yama.ptrace_scope of 0, a kernel with kcmp")
def _(): return syscall(312, 272, os.getpid(), WORLD["supervisor"], 0, 0, 0) >= 0


# --- network ----------------------------------------------------------------------------------------------

@probe("network: reach a service of the user on 127.0.0.1")
def _(): return reaches(socket.AF_INET, ("127.0.0.1", WORLD["port"]))

@probe("network: reach a service of the user on ::1", "IPv6")
def _(): return reaches(socket.AF_INET6, ("::1", WORLD["port"]))

@probe("network: reach a unix socket of the user")
def _(): return reaches(socket.AF_UNIX, WORLD["socketPath"])

@probe("network: reach an abstract socket of the user")
def _(): return reaches(socket.AF_UNIX, "\0" + WORLD["abstractName"])

@probe("network: send to a unix socket of the user from one that is connected")
def _():
    with socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0] as one:
        try:
            return one.sendto(b"x", WORLD["socketPath"]) > 0
        except OSError as error:
            # It is there, and of the other type.
            return error.errno == errno.EPROTOTYPE

@probe("network: have a way out", "a default route")
def _(): return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 9)) is None

@probe("network: see the interfaces of the machine", "an interface besides lo")
def _(): return any(name != "lo" for _, name in socket.if_nameindex())

@probe("network: raw socket", "root")
def _(): return opens(socket.AF_INET, socket.SOCK_RAW, 1)

for name, family, kind in (("VSOCK", 40, 1), ("ALG", 38, 5), ("PACKET", 17, 3), ("BLUETOOTH", 31, 5), ("TIPC", 30, 2), ("RDS", 21, 5), ("KCM", 41, 2), ("XDP", 44, 3), ("KEY", 15, 3), ("CAN", 29, 3), ("QIPCRTR", 42, 2), ("SMC", 43, 1)):
    probe("network: socket of AF_" + name, "a kernel that has it, some also root")(lambda family=family, kind=kind: opens(family, kind))


# --- keys -------------------------------------------------------------------------------------------------

@probe("key: read the session keyring", "a kernel with keys")
def _(): return syscall(250, 219, 0, -3, 1, 0, 0) > 0

@probe("key: add one", "a kernel with keys")
def _(): return syscall(248, 217, b"user", b"probe", b"x", 1, -4) > 0

@probe("key: ask for one", "a kernel with keys")
def _():
    try:
        return syscall(249, 218, b"user", b"none", 0, 0) >= 0
    except OSError as error:
        return error.errno == errno.ENOKEY


# --- namespaces and mounts --------------------------------------------------------------------------------

USERNS = "user namespaces for everyone"

@probe("namespace: a nested user namespace", USERNS)
def _(): return unshare(NEWUSER)

@probe("namespace: a nested user namespace by clone", USERNS)
def _():
    pid = syscall(56, 220, NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid > 0

@probe("namespace: a nested user namespace by clone3", USERNS)
def _():
    pid = syscall(435, 435, struct.pack("8Q", NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)
    if pid == 0:
        os._exit(0)
    return pid > 0

@probe("namespace: a network namespace with all rights in it", USERNS)
def _(): return unshare(NEWUSER | NEWNET)

@probe("namespace: enter that of the supervisor", "root")
def _(): return syscall(308, 268, os.open("/proc/%d/ns/mnt" % WORLD["supervisor"], os.O_RDONLY), 0) == 0

@probe("mount: a tmpfs", USERNS)
def _(): return unshare(NEWUSER | NEWNS) and mount(b"none", b"/tmp", b"tmpfs")

@probe("mount: a fresh /proc", USERNS + ", and one that nothing hides")
def _():
    unshare(NEWUSER | NEWNS | NEWPID)
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if mount(b"proc", b"/proc", b"proc") else 1)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0

# MS_REMOUNT | MS_BIND
@probe("mount: make /usr writable", "root")
def _(): return mount(b"none", b"/usr", b"none", 0x1020)

@probe("mount: open a file system", USERNS)
def _():
    try:
        unshare(NEWUSER | NEWNS)
    except OSError:
        pass
    return syscall(430, 430, b"tmpfs", 0) >= 0

@probe("mount: clone the mount tree", USERNS)
def _():
    try:
        unshare(NEWUSER | NEWNS)
    except OSError:
        pass
    return syscall(428, 428, -100, b"/", 0x8001) >= 0

@probe("mount: unmount", USERNS)
def _():
    try:
        unshare(NEWUSER | NEWNS) and mount(b"none", b"/tmp", b"tmpfs")
    except OSError:
        pass
    return syscall(166, 39, b"/tmp", 2) == 0

@probe("mount: change the root", USERNS)
def _():
    try:
        unshare(NEWUSER)
    except OSError:
        pass
    return os.chroot("/") is None


# --- the kernel's wider surface ---------------------------------------------------------------------------

@probe("kernel: io_uring", "kernel.io_uring_disabled of 0")
def _(): return syscall(425, 425, 1, ctypes.create_string_buffer(120)) >= 0

@probe("kernel: bpf", "kernel.unprivileged_bpf_disabled of 0")
def _(): return syscall(321, 280, 0, struct.pack("IIIIII", 2, 4, 4, 1, 0, 0) + bytes(96), 120) >= 0

# UFFD_USER_MODE_ONLY
@probe("kernel: userfaultfd", "a kernel that has it")
def _(): return syscall(323, 282, 1) >= 0

@probe("kernel: perf_event_open", "kernel.perf_event_paranoid of at most 2")
def _():
    # A software clock, of user space only: disabled, exclude_kernel, exclude_hv.
    attributes = struct.pack("IIQQQQQ", 1, 64, 0, 0, 0, 0, 0b1100001)
    return syscall(298, 241, attributes.ljust(128, b"\0"), 0, -1, -1, 0) >= 0

@probe("kernel: memory behind an anonymous file")
def _(): return syscall(319, 279, b"x", 0) >= 0

@probe("kernel: shared memory of System V")
def _(): return LIBC.shmctl(syscall(29, 194, 0, 4096, 0o600), 0, 0) == 0

# In memory of the kernel, which no process holds and which outlives them all; IPC_RMID.
@probe("kernel: semaphores of System V")
def _(): return LIBC.semctl(syscall(64, 190, 0, 32000, 0o600), 0, 0) == 0

@probe("kernel: message queues of System V")
def _(): return LIBC.msgctl(syscall(68, 186, 0, 0o600), 0, 0) == 0

@probe("kernel: reach a message queue of the user")
def _(): return syscall(68, 186, WORLD["queue"], 0o600) >= 0

@probe("kernel: another personality")
def _(): return syscall(135, 92, 0x0040000) >= 0

@probe("kernel: read the log", "kernel.dmesg_restrict of 0")
def _(): return syscall(103, 116, 10, 0, 0) >= 0

@probe("kernel: ask how the clock is steered")
def _(): return syscall(159, 171, ctypes.create_string_buffer(512)) >= 0

@probe("kernel: set the clock", "root")
def _(): return syscall(227, 112, 0, struct.pack("qq", int(time.time()), 0)) == 0

@probe("kernel: local descriptor table", "x64, a kernel that has it")
def _(): return syscall(154, None, 0, ctypes.create_string_buffer(64), 64) >= 0

@probe("kernel: input and output ports", "root on x64")
def _(): return syscall(172, None, 3) == 0

@probe("kernel: calls newer than those reviewed", "Linux 6.13")
def _():
    try:
        # removexattrat of nothing
        return syscall(466, 466, -100, 0, 0, 0) >= 0
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM)

@probe("kernel: calls of the 32-bit interface", "x64, a kernel that has it")
def _():
    # mov eax, 20 (getpid); int 0x80; ret
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")
    return X64 and ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() == os.getpid()

@probe("kernel: calls of the x32 interface", "x64, a kernel that has it")
def _(): return X64 and syscall(0x40000000 + 39, None) == os.getpid()

@probe("terminal: type into it", "dev.tty.legacy_tiocsti of 1")
def _():
    import fcntl, pty
    main, other = pty.openpty()
    os.setsid()
    fcntl.ioctl(other, 0x540E, 0)
    fcntl.ioctl(other, 0x5412, b"x")
    return True

@probe("namespace: rights over the machine", "root")
def _(): return int(open("/proc/self/status").read().split("CapEff:\t")[1].split()[0], 16) != 0


# --- bombs, all of them of bounded size -------------------------------------------------------------------

@probe("bomb: processes")
def _():
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
    return True

@probe("bomb: threads")
def _():
    stop = threading.Event()
    for _ in range(200):
        threading.Thread(target=stop.wait, daemon=True).start()
    return True

@probe("bomb: descriptors", "so many allowed to the user")
def _():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return len([os.dup(0) for _ in range(1500)]) == 1500

def fill(memory):
    for start in range(0, len(memory), 4096):
        memory[start] = 1

@probe("bomb: private memory")
def _():
    memory = bytearray(400 * MIB)
    fill(memory)
    time.sleep(2)
    return True

@probe("bomb: shared memory")
def _():
    memory = mmap.mmap(-1, 400 * MIB)
    fill(memory)
    time.sleep(2)
    return True

@probe("bomb: memory of many processes")
def _():
    children = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            memory = bytearray(80 * MIB)
            fill(memory)
            time.sleep(3)
            os._exit(0)
        children.append(pid)
    return all(os.waitpid(pid, 0)[1] == 0 for pid in children)

def pour(directory, files, size):
    places = []
    try:
        for number in range(files):
            places.append("%s/abuse-%d" % (directory, number))
            with open(places[-1], "wb") as file:
                file.write(bytes(size))
        return True
    finally:
        for place in places:
            if os.path.exists(place):
                os.unlink(place)

@probe("bomb: files in /dev/shm", "64 MiB there")
def _(): return pour("/dev/shm", 16, 4 * MIB)

@probe("bomb: files in /tmp", "64 MiB there")
def _(): return pour("/tmp", 16, 4 * MIB)

@probe("bomb: files in the workspace")
def _(): return pour(".", 16, 4 * MIB)

@probe("bomb: one long file")
def _(): return pour(".", 1, 24 * MIB)

for place in ("/run", "/etc", "/opt", "/dev", "/mnt"):
    probe("bomb: files in %s, which has no cap" % place, "root")(lambda place=place: pour(place, 16, 4 * MIB))


# --- the run ----------------------------------------------------------------------------------------------

def attempt(run, seconds=8):
    """Runs a probe in a process group of its own: (whether it succeeded, why not)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        me = os.getpid()
        try:
            verdict = b"ESCAPED" if run() else b"held"
        except BaseException as error:
            verdict = ("held: %s" % error).encode()
        if os.getpid() == me:
            os.write(write, verdict[:200])
        os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], seconds)
    told = os.read(read, 200).decode("utf-8", "replace") if ready else "held: too slow"
    for end in (lambda: os.killpg(pid, signal.SIGKILL), lambda: os.kill(pid, signal.SIGKILL)):
        try:
            end()
        except OSError:
            pass
    _, status = os.waitpid(pid, 0)
    os.close(read)
    return told or "held: ended with status %d" % status


def main():
    for name, needs, run in PROBES:
        if WORLD is None:
            print(json.dumps({"name": name, "needs": needs}))
        elif name.startswith("bomb:") == WORLD["bombs"]:
            print(json.dumps({"name": name, "told": attempt(run)}), flush=True)


main()
