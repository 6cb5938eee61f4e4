"""Makes a sandbox where namespaces are refused: Landlock shuts files, signals and ports, the filter shuts the rest.

Runs outside, as the server's user, and stays there as the guard of one sandbox: when its agent or the server ends,
it ends everything in the sandbox and removes its directory. Needs Linux 6.12.
"""

import base64
import ctypes
import json
import os
import signal
import stat
import struct
import sys

from directory import fill, remove
from rights import LIBC, check, drop_bounding_set, drop_capabilities, filter_system_calls, refuse_new_privileges

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
# The first that keeps signals and abstract sockets inside.
OLDEST_ABI = 6
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE, IOCTL_DEV = 1, 2, 4, 8, 1 << 14, 1 << 15
# linux/landlock.h: every right there is over files, over TCP ports, and over what is outside of the sandbox.
ALL_FILES, ALL_PORTS, ALL_SCOPES = (1 << 16) - 1, 3, 3
# No devices are made in a sandbox, nor sockets, which nobody could connect to: MAKE_CHAR, MAKE_BLOCK, MAKE_SOCK.
OWN = ALL_FILES & ~(1 << 6 | 1 << 11 | 1 << 9)
READ = EXECUTE | READ_FILE | READ_DIR
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ENDINGS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def syscall(number, *args):
    return LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args))


def restrict(files, ports, scopes, rules=()):
    """Shuts all of these rights for this process and those it starts, but for files in the places of the rules."""
    attributes = struct.pack("QQQ", files, ports, scopes)
    ruleset = check(syscall(CREATE_RULESET, attributes, len(attributes), 0), "landlock_create_ruleset")
    for place, rights in rules:
        fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= OF_A_FILE
        rule = struct.pack("=Qi", rights, fd)
        check(syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0), "landlock_add_rule " + place)
        os.close(fd)
    refuse_new_privileges()
    check(syscall(RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def become_agent(config):
    """Gives up everything but what the sandbox may, and runs its agent."""
    os.setsid()
    # Inside it may not open this, and as another user it could not.
    os.dup2(os.open("/proc/self/oom_score_adj", os.O_RDWR), config["score"])
    drop_bounding_set()
    if config["uid"] is not None:
        os.setgroups([])
        os.setresgid(*[config["uid"]] * 3)
        os.setresuid(*[config["uid"]] * 3)
    drop_capabilities()
    # After the change of user, which takes it back. Not SIGKILL: the agent ends the others first.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != config["guard"]:
        os._exit(1)
    check(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")
    os.chdir(config["places"][0])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)
    rules = [(place, READ) for place in config["readable"] if os.path.exists(place)]
    rules += [("/dev/" + name, READ_FILE | WRITE_FILE) for name in ("null", "zero", "full", "random", "urandom")]
    rules += [(place, OWN) for place in config["places"]]
    restrict(ALL_FILES, ALL_PORTS, ALL_SCOPES, rules)
    filter_system_calls(base64.b64decode(config["seccomp"]))
    os.execve(config["command"][0], config["command"], config["environment"])


def end_everything():
    """All below this process are in its Landlock domain, and the signal reaches nobody outside of that."""
    while True:
        LIBC.kill(-1, signal.SIGKILL)
        try:
            # Those whose parents died are children of this process by now.
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def guard(config):
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != config["server"]:
        os._exit(1)
    abi = syscall(CREATE_RULESET, None, 0, 1)
    if abi < OLDEST_ABI:
        raise OSError("Landlock is missing or too old here: ABI %d, and Linux 6.12 has %d" % (abi, OLDEST_ABI))
    os.setsid()
    check(LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")
    restrict(0, 0, ALL_SCOPES)
    try:
        os.kill(config["server"], 0)
    except PermissionError:
        pass
    else:
        raise OSError("signals reach the outside of a Landlock domain")
    os.umask(0o022)
    os.mkdir(config["directory"], 0o711 if config["uid"] is not None else 0o700)
    try:
        fill(config)
        config["guard"] = os.getpid()
        agent = os.fork()
        if agent == 0:
            try:
                become_agent(config)
            except Exception as error:
                complain(error)
            finally:
                os._exit(1)
        # The pipes are the agent's; whoever holds the other ends is to see when it ends.
        os.closerange(0, 2)
        while True:
            if signal.sigwait(ENDINGS) != signal.SIGCHLD or os.waitpid(agent, os.WNOHANG)[0] == agent:
                break
    finally:
        end_everything()
        remove(config["directory"])


def complain(error):
    os.write(2, ("landlock: %s\n" % error).encode())


try:
    guard(json.loads(sys.argv[1]))
except Exception as error:
    complain(error)
    os._exit(1)
