"""The way out of a sandbox that may use the internet: from a port of its loopback to the host's proxy."""

import selectors
import socket

from settings import CHUNK, CONFIG

# More than pip or npm open; the agent's descriptors are limited.
CONNECTIONS = 64


class Forwarder:
    def __init__(self, agent):
        self.agent = agent
        self.tunnels = 0
        self.listener = socket.create_server(("127.0.0.1", CONFIG["proxy"]["port"]), backlog=CONNECTIONS)
        self.listener.setblocking(False)
        agent.watch(self.listener.fileno(), selectors.EVENT_READ, self.accept)

    def accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        proxy = socket.socket(socket.AF_UNIX)
        proxy.setblocking(False)
        try:
            if self.tunnels >= CONNECTIONS:
                raise OSError("too many connections")
            proxy.connect(CONFIG["proxy"]["path"])
        except OSError:
            proxy.close()
            client.close()
            return
        client.setblocking(False)
        self.tunnels += 1
        Tunnel(self, (client, proxy)).watch()


class Tunnel:
    """Two sockets; what is read from one is written to the other before more is read."""

    def __init__(self, forwarder, ends):
        self.forwarder, self.ends = forwarder, ends
        self.waiting = [b"", b""]
        self.finished = [False, False]

    def watch(self):
        for side, end in enumerate(self.ends):
            events = 0
            if not self.finished[side] and not self.waiting[1 - side]:
                events |= selectors.EVENT_READ
            if self.waiting[side]:
                events |= selectors.EVENT_WRITE
            self.forwarder.agent.forget(end.fileno())
            if events:
                self.forwarder.agent.watch(end.fileno(), events, lambda side=side: self.turn(side))

    def turn(self, side):
        try:
            self.write(side)
            self.read(side)
        except BlockingIOError:
            pass
        except OSError:
            self.finished = [True, True]
            self.waiting = [b"", b""]
        if all(self.finished) and not any(self.waiting):
            self.close()
        else:
            self.watch()

    def read(self, side):
        if self.finished[side] or self.waiting[1 - side]:
            return
        chunk = self.ends[side].recv(CHUNK)
        self.waiting[1 - side] = chunk
        self.finished[side] = not chunk
        self.write(1 - side)

    def write(self, side):
        if self.waiting[side]:
            self.waiting[side] = self.waiting[side][self.ends[side].send(self.waiting[side]) :]
        if self.finished[1 - side] and not self.waiting[side]:
            self.ends[side].shutdown(socket.SHUT_WR)

    def close(self):
        for end in self.ends:
            self.forwarder.agent.forget(end.fileno())
            end.close()
        self.forwarder.tunnels -= 1
