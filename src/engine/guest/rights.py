"""What the makers of sandboxes for Linux take away from a process before it runs code."""

import ctypes
import os
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38


def check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))
    return result


def drop_bounding_set():
    """No program that it runs can give it a capability; needs CAP_SETPCAP where there is anything to drop."""
    capability = 0
    while LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1


def drop_capabilities():
    # Version 3, this process; no effective, permitted or inheritable ones.
    check(LIBC.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)), "capset")


def refuse_new_privileges():
    check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def filter_system_calls(program):
    """By a program of struct sock_filter; from then on, for it and all that it starts."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    check(LIBC.prctl(PR_SET_SECCOMP, 2, header, 0, 0), "seccomp")
