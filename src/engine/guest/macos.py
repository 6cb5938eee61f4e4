"""What the guard of a sandbox asks of macOS. Nobody has tried it on a Mac yet."""

import ctypes
import os
import struct

LIBC = ctypes.CDLL(None)
# sys/proc_info.h and libproc.h
PROC_UID_ONLY, RUSAGE_INFO_V0 = 4, 0
FOOTPRINT_OFFSET = 16 + 7 * 8
# The checks that WebKit makes of its clients: by the name of a Mach service, and without a line in the system's log.
FILTER_GLOBAL_NAME, NO_REPORT = 2, 0x40000000
# The fixed arguments: Apple's arm64 passes what comes after them in another way.
LIBC.sandbox_check.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]

PIDS = (ctypes.c_int * 32768)()


def own_pids():
    """Of all processes of this user."""
    length = LIBC.proc_listpids(PROC_UID_ONLY, os.getuid(), PIDS, ctypes.sizeof(PIDS))
    return {pid for pid in PIDS[: length // ctypes.sizeof(ctypes.c_int)] if pid > 0}


def is_inside(pid, mark):
    """Whether its profile allows this service and not its neighbour; a process inherits that, and cannot lay it off."""
    return may_look_up(pid, mark + ".not") == 1 and may_look_up(pid, mark) == 0


def may_look_up(pid, service):
    """0 where it may, 1 where not, -1 of a process that is gone."""
    return LIBC.sandbox_check(pid, b"mach-lookup", FILTER_GLOBAL_NAME | NO_REPORT, ctypes.c_char_p(service.encode()))


def footprint(pid):
    """Bytes of memory, as Activity Monitor has them; 0 of a process that is gone."""
    usage = ctypes.create_string_buffer(512)
    if LIBC.proc_pid_rusage(pid, RUSAGE_INFO_V0, usage) != 0:
        return 0
    return struct.unpack_from("Q", usage, FOOTPRINT_OFFSET)[0]
