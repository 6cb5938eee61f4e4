"""Tells the host which files change, by looking again and again."""

import errno
import os
import stat
import time

from artifacts import scan
from files import allowed_path
from places import named

WATCH_SECONDS = 0.2
# Each costs a look at up to 5,000 files a round.
MOST_WATCHES = 4
# Of one round; more is a build or an unpacking, of which nobody follows every file.
MOST_CHANGES = 500


class Watches:
    def __init__(self, agent):
        self.agent = agent
        self.watches = {}
        self.due = 0

    def watch(self, request):
        path = allowed_path(request["path"], or_root=True)
        if not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if len(self.watches) >= MOST_WATCHES:
            raise OSError(errno.EMFILE, "too many watches, the most is %d" % MOST_WATCHES)
        self.watches[request["id"]] = (path, look_at(path))

    def unwatch(self, request):
        if self.watches.pop(request["id"], None) is not None:
            self.agent.send({"event": "done", "id": request["id"]})

    def look_if_due(self):
        if self.watches and time.monotonic() >= self.due:
            self.look()
            self.due = time.monotonic() + WATCH_SECONDS

    def look(self):
        for watch_id, (path, before) in list(self.watches.items()):
            now = look_at(path)
            self.watches[watch_id] = (path, now)
            changes = [(name, "deleted") for name in before.keys() - now.keys()]
            changes += [(name, "created") for name in now.keys() - before.keys()]
            changes += [(name, "modified") for name in now.keys() & before.keys() if now[name] != before[name]]
            for name, change in sorted(changes)[:MOST_CHANGES]:
                self.agent.send({"event": "change", "id": watch_id, "path": named(name), "change": change})


def look_at(path):
    """Of each file what differs when it was written to; of a directory nothing, as its files tell."""
    if not os.path.isdir(path):
        try:
            return {path: describe(os.stat(path))}
        except OSError:
            return {}
    return {name: describe(status) for name, status in scan(path)}


def describe(status):
    if stat.S_ISDIR(status.st_mode):
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)
