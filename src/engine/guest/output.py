"""The output of a run: its head as it comes, its tail at the end, all of it in a file where it is long."""

import codecs
import collections
import fcntl
import os
import struct
import termios

from settings import CHUNK, CONFIG

HEAD_CHARS = CONFIG["headChars"]
TAIL_CHARS = CONFIG["tailChars"]
SPILL_BYTES = CONFIG["spillBytes"]
CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
F_SETPIPE_SZ = 1031


def open_pipe():
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        fcntl.fcntl(read, F_SETPIPE_SZ, CHUNK)
    except OSError:
        pass
    return read, write


class Stream:
    """One output stream of a run: the head goes to the host as it comes, a tail is kept, all of it is counted."""

    def __init__(self, runs, run, name, fd):
        self.runs, self.agent, self.run, self.name, self.fd = runs, runs.agent, run, name, fd
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.head_chars = 0
        # The head's bytes, until it is known whether a file has to hold them.
        self.held = bytearray()
        self.is_over = False
        self.later_chars = 0
        self.tail = collections.deque()
        self.tail_bytes = 0
        self.spill = None
        self.spill_path = None
        self.spill_room = SPILL_BYTES
        self.dropping = False

    def read(self):
        """One read; False once there is nothing left to come."""
        try:
            chunk = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            chunk = b""
        if not chunk:
            self.close()
            return False
        if not self.dropping:
            self.take(chunk)
        return True

    def drain(self):
        """Takes what is in the pipe now, and no more: a background process may go on writing for ever."""
        # Twice, because the code may have made the pipe larger than one read.
        for _ in range(2):
            if self.fd is None:
                return
            waiting = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0" * 4))[0]
            if waiting == 0 or not self.read():
                return

    def take(self, chunk):
        if self.is_over:
            self.write_spill(chunk)
            self.keep(chunk)
            return
        self.held += chunk
        self.take_head(self.decoder.decode(chunk))

    def take_head(self, text):
        shown = text[: HEAD_CHARS - self.head_chars]
        if shown:
            self.head_chars += len(shown)
            self.agent.send_text({"event": "output", "id": self.run.id, "stream": self.name}, shown)
        if len(shown) < len(text):
            self.is_over = True
            self.open_spill()
            self.write_spill(self.held)
            self.held = bytearray()
            self.keep(text[len(shown) :].encode() + self.decoder.getstate()[0])

    def keep(self, chunk):
        # Counting is several times faster than decoding, and exact for valid UTF-8.
        self.later_chars += len(chunk) if chunk.isascii() else len(chunk.translate(None, CONTINUATION_BYTES))
        self.tail.append(chunk)
        self.tail_bytes += len(chunk)
        while self.tail_bytes - len(self.tail[0]) >= TAIL_CHARS * 4:
            self.tail_bytes -= len(self.tail.popleft())

    def open_spill(self):
        try:
            path = os.path.join(self.runs.directory_of(self.run), self.name)
            self.spill = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            self.spill_path = path
        except OSError:
            self.spill_room = 0

    def write_spill(self, chunk):
        if self.spill_room <= 0:
            return
        try:
            written = os.write(self.spill, chunk[: self.spill_room])
        except OSError:
            self.spill_room = 0
            return
        self.spill_room -= written
        self.run.spilled_bytes += written
        self.runs.make_room()

    def finish(self):
        """Sends what is still owed to the host; whatever comes later is read and dropped."""
        self.drain()
        if not self.is_over:
            self.take_head(self.decoder.decode(b"", True))
        self.dropping = True
        self.runs.drop(self)
        self.held = bytearray()
        if self.spill is not None:
            os.close(self.spill)
        if not self.is_over:
            return
        kept = b"".join(self.tail)
        self.tail.clear()
        if self.later_chars > TAIL_CHARS:
            kept = kept.lstrip(CONTINUATION_BYTES)
        tail = kept.decode("utf-8", "replace")[-TAIL_CHARS:]
        left_out = max(0, self.later_chars - len(tail))
        cut = {"event": "cut", "id": self.run.id, "stream": self.name, "leftOutChars": left_out}
        if self.spill_path is not None:
            cut["path"] = self.spill_path
        self.agent.send(cut)
        self.agent.send_text({"event": "output", "id": self.run.id, "stream": self.name}, tail)

    def close(self):
        if self.fd is not None:
            self.agent.forget(self.fd)
            os.close(self.fd)
            self.fd = None
