"""The files of the sandbox, for the host: whole, piece by piece, and their directories."""

import base64
import errno
import os
import stat

from artifacts import Artifacts
from places import TMP, WORKSPACE, located
from settings import PIECE

LONGEST_FILE = 64 * 1024 * 1024
# Open at once; the descriptors are needed for runs.
OPEN_FILES = 32
LISTED_ENTRIES = 10_000
ENTRIES_A_LINE = 500
# A multiple of 3, so that the base64 of the pieces joins.
READ_BYTES = PIECE * 3


class Files:
    def __init__(self, agent):
        self.agent = agent
        # id -> [descriptor, bytes that are left to read, path of a file that is being written]
        self.open_files = {}
        self.readers = {}
        self.operations = {
            "write": self.write,
            "read": self.read,
            "open": self.open,
            "pull": self.pull,
            "create": self.create,
            "put": self.put,
            "commit": self.commit,
            "close": self.close,
            "list": self.list,
            "exists": self.exists,
            "remove": self.remove,
            "mkdir": self.mkdir,
        }

    def done(self, request):
        self.agent.send({"event": "done", "id": request["id"]})

    def write(self, request):
        path = allowed_path(request["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        if not request["overwrite"]:
            flags |= os.O_EXCL
        fd = os.open(path, flags, 0o644)
        try:
            require_regular(fd)
            os.ftruncate(fd, 0)
            write_all(fd, base64.b64decode(request["data"]))
            if "mode" in request:
                os.fchmod(fd, request["mode"])
            Artifacts.leave_out(path, fd)
        finally:
            os.close(fd)
        self.done(request)

    def read(self, request):
        fd, size = open_regular(request["path"])
        if size > LONGEST_FILE:
            os.close(fd)
            raise OSError(errno.EFBIG, "the file has %d bytes, the most is %d" % (size, LONGEST_FILE))
        self.readers[request["id"]] = (fd, size)

    def continue_reading(self):
        """Sends the next piece of what is read as a whole; called whenever the host has taken the last one."""
        request_id = next(iter(self.readers))
        fd, left = self.readers.pop(request_id)
        piece = os.read(fd, min(left, READ_BYTES))
        if piece:
            self.agent.send({"event": "data", "id": request_id, "base64": base64.b64encode(piece).decode()})
            self.readers[request_id] = (fd, left - len(piece))
        else:
            os.close(fd)
            self.agent.send({"event": "done", "id": request_id})

    def keep(self, request, fd, left, path):
        if len(self.open_files) >= OPEN_FILES:
            os.close(fd)
            raise OSError(errno.EMFILE, "too many files are read and written at once")
        self.open_files[request["id"]] = [fd, left, path]

    def open(self, request):
        fd, size = open_regular(request["path"])
        self.keep(request, fd, size, None)
        self.agent.send({"event": "size", "id": request["id"], "bytes": size})

    def pull(self, request):
        entry = self.open_files[request["id"]]
        piece = os.read(entry[0], min(entry[1], READ_BYTES))
        entry[1] -= len(piece)
        if not piece:
            self.close(request)
        self.agent.send({"event": "data", "id": request["id"], "base64": base64.b64encode(piece).decode()})

    def create(self, request):
        path = "%s/.upload-%s" % (WORKSPACE, request["id"].rpartition(":")[2])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.keep(request, os.open(path, flags, 0o644), 0, path)
        self.done(request)

    def put(self, request):
        write_all(self.open_files[request["id"]][0], base64.b64decode(request["data"]))
        self.done(request)

    def commit(self, request):
        fd, _, written = self.open_files[request["id"]]
        path = allowed_path(request["path"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if "mode" in request:
            os.fchmod(fd, request["mode"])
        if not request["overwrite"] and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        try:
            os.replace(written, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            import shutil

            shutil.copyfile(written, path)
        Artifacts.leave_out(path, fd)
        self.close(request)
        self.done(request)

    def close(self, request):
        entry = self.open_files.pop(request["id"], None)
        if entry is None:
            return
        os.close(entry[0])
        if entry[2] is not None:
            try:
                os.unlink(entry[2])
            except OSError:
                pass

    def list(self, request):
        entries = []
        with os.scandir(allowed_path(request["path"], or_root=True)) as found:
            for entry in found:
                if len(entries) >= LISTED_ENTRIES:
                    break
                try:
                    status = entry.stat(follow_symlinks=False)
                    is_directory = entry.is_dir()
                except OSError:
                    continue
                entries.append(
                    {
                        "name": entry.name,
                        "size": status.st_size,
                        "isDirectory": is_directory,
                        "modifiedMs": status.st_mtime_ns // 1_000_000,
                        "mode": stat.S_IMODE(status.st_mode),
                    }
                )
        entries.sort(key=lambda entry: entry["name"])
        for start in range(0, len(entries), ENTRIES_A_LINE):
            piece = entries[start : start + ENTRIES_A_LINE]
            self.agent.send({"event": "entries", "id": request["id"], "entries": piece})
        self.done(request)

    def exists(self, request):
        exists = os.path.exists(allowed_path(request["path"], or_root=True))
        self.agent.send({"event": "exists", "id": request["id"], "exists": exists})

    def remove(self, request):
        # Of a link the link itself goes, not what it leads to.
        parent, name = os.path.split(located(request["path"]).rstrip("/"))
        path = os.path.join(allowed_path(parent, or_root=True), name)
        if name in ("", ".", ".."):
            raise OSError(errno.EACCES, "the path is not under /workspace or /tmp")
        if os.path.isdir(path) and not os.path.islink(path):
            import shutil

            shutil.rmtree(path)
        else:
            os.unlink(path)
        self.done(request)

    def mkdir(self, request):
        os.makedirs(allowed_path(request["path"], or_root=True), exist_ok=True)
        self.done(request)


def write_all(fd, data):
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def open_regular(path):
    fd = os.open(allowed_path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return fd, require_regular(fd).st_size
    except OSError:
        os.close(fd)
        raise


def allowed_path(path, or_root=False):
    real = os.path.realpath(located(path))
    if not any(real.startswith(root + "/") or (or_root and real == root) for root in (WORKSPACE, TMP)):
        raise OSError(errno.EACCES, "the path is not under /workspace or /tmp")
    return real


def require_regular(fd):
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return status


CODES = {
    errno.ENOENT: "RESOURCE_NOT_FOUND",
    errno.EEXIST: "CONFLICT",
    errno.EACCES: "FORBIDDEN",
    errno.EPERM: "FORBIDDEN",
    errno.EROFS: "FORBIDDEN",
}


def describe(error):
    if isinstance(error, OSError):
        return CODES.get(error.errno, "INVALID_REQUEST"), error.strerror or str(error)
    return "INVALID_REQUEST", str(error)


def remove_tree(path):
    # Only what the agent itself put there; anything else stays.
    try:
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
    except OSError:
        pass
