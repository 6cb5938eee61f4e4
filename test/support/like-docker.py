"""Runs a command as it would run in a container of Docker's defaults: few capabilities, no namespaces, no mounts.

Usage: like-docker.py [--without-landlock] UID COMMAND…
"""

import ctypes
import os
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
X64 = os.uname().machine == "x86_64"
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38
# CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP
KEPT = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
# By x64 and arm64 numbers: unshare setns mount umount2 pivot_root keyctl add_key request_key bpf open_tree move_mount fsopen fsmount
REFUSED = ((272, 97), (308, 268), (165, 40), (166, 39), (155, 41), (250, 219), (248, 217), (249, 218), (321, 280), (428, 428), (429, 429), (430, 430), (432, 432))
CLONE, CLONE3, LANDLOCK = (56, 220), (435, 435), (444, 444)
NEW_NAMESPACES = 0x7E020000
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026


def number(pair):
    return pair[0 if X64 else 1]


def instructions():
    yield 0x20, 0, 0, 0
    for pair in REFUSED:
        yield 0x15, 0, 1, number(pair)
        yield 0x06, 0, 0, EPERM
    # As Docker answers to clone3, that libraries fall back on clone, whose flags can be seen.
    for pair in MISSING:
        yield 0x15, 0, 1, number(pair)
        yield 0x06, 0, 0, ENOSYS
    yield 0x15, 0, 3, number(CLONE)
    yield 0x20, 0, 0, 16
    yield 0x45, 0, 1, NEW_NAMESPACES
    yield 0x06, 0, 0, EPERM
    yield 0x06, 0, 0, ALLOW


def refuse():
    code = b"".join(struct.pack("HBBI", *each) for each in instructions())
    text = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(text))
    if LIBC.prctl(PR_SET_SECCOMP, 2, program, 0, 0) != 0:
        sys.exit("no filter")


def main(uid, command):
    if os.getuid() == 0:
        refuse()
        for capability in range(64):
            if capability not in KEPT:
                LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        if uid != 0:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        else:
            low = sum(1 << capability for capability in KEPT)
            # Version 3, this process; effective, permitted, inheritable.
            if LIBC.capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", low, low, 0, 0, 0, 0)) != 0:
                sys.exit("no capset")
    else:
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        refuse()
    os.execvp(command[0], command)


sys.argv.pop(0)
MISSING = [CLONE3]
if sys.argv[0] == "--without-landlock":
    MISSING.append(LANDLOCK)
    sys.argv.pop(0)
main(int(sys.argv[0]), sys.argv[1:])
