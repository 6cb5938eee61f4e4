"""Keeps the signals of code off the agent where it is not PID 1, which the kernel itself would protect."""

import ctypes
import os
import struct

PR_SET_SECCOMP = 22
# By x64 and arm64 numbers: kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_open.
CALLS = ((62, 129), (200, 130), (234, 131), (129, 138), (297, 240), (434, 434))
LOAD, IF_EQUAL, END = 0x20, 0x15, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16
ALLOW, EPERM = 0x7FFF0000, 0x00050001


def instructions(pid, numbers):
    targets = [target & 0xFFFFFFFF for target in (pid, -pid, -1)]
    yield LOAD, 0, 0, NUMBER
    for index, number in enumerate(numbers):
        yield IF_EQUAL, len(numbers) - index, 0, number
    yield END, 0, 0, ALLOW
    yield LOAD, 0, 0, FIRST_ARGUMENT
    for index, target in enumerate(targets):
        yield IF_EQUAL, len(targets) - index, 0, target
    yield END, 0, 0, ALLOW
    yield END, 0, 0, EPERM


def shield(pid, libc):
    """From now on neither this process nor any that it starts can signal that one, be it among all."""
    numbers = [x64 if os.uname().machine == "x86_64" else arm64 for x64, arm64 in CALLS]
    code = b"".join(struct.pack("HBBI", *each) for each in instructions(pid, numbers))
    text = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(text))
    if libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0) != 0:
        raise OSError("the agent cannot be shielded")
