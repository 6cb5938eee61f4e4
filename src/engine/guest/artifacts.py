"""Which files of the workspace a run made or changed."""

import os
import stat
import sys
import time

from places import WORKSPACE, named

# What a look at the workspace costs is bounded, and what it finds.
SCANNED_ENTRIES = 5000
SHOWN_ARTIFACTS = 50
# The clock that the kernel takes the times of files from; Python has no name for Linux's CLOCK_REALTIME_COARSE.
FILE_CLOCK = 5 if sys.platform == "linux" else time.CLOCK_REALTIME


class Artifacts:
    """The files under /workspace that a run made or changed since this was."""

    # The times of files stand still for some milliseconds: what was there at the end of a run may look new to the next.
    known = {}

    def __init__(self):
        self.since = time.clock_gettime_ns(FILE_CLOCK)
        self.before = Artifacts.known

    def found(self):
        recent, changed = {}, []
        for path, status in scan(WORKSPACE):
            # Not the time of its content, which anyone can set.
            if stat.S_ISREG(status.st_mode) and status.st_ctime_ns >= self.since:
                recent[path] = version_of(status)
                if self.before.get(path) != recent[path]:
                    changed.append((status.st_ctime_ns, path, status.st_size))
        Artifacts.known = recent
        if not changed:
            return {}
        changed.sort(reverse=True)
        shown = [{"path": named(path), "size": size} for _, path, size in changed[:SHOWN_ARTIFACTS]]
        return {"artifacts": shown, **({"artifactsTotal": len(changed)} if len(changed) > len(shown) else {})}

    @staticmethod
    def leave_out(path, fd):
        """No run made what the host wrote."""
        if len(Artifacts.known) >= SCANNED_ENTRIES:
            Artifacts.known.clear()
        Artifacts.known[path] = version_of(os.fstat(fd))


def version_of(status):
    return (status.st_ctime_ns, status.st_size, status.st_ino)


def scan(root):
    """Path and status of what is below; not of hidden directories and of those that tools fill."""
    queue, left = [root], SCANNED_ENTRIES
    while queue:
        try:
            with os.scandir(queue.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        if entry.name.startswith(".") or entry.name in ("node_modules", "__pycache__"):
                            continue
                        queue.append(entry.path)
                    yield entry.path, status
        except OSError:
            continue
