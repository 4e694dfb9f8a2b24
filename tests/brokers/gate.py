"""A gate on the way to a server: TCP forwarded byte for byte, until a test breaks it in one of these ways.

    shut        new connections are refused and the present ones end
    cut         the present connections end, as a router ends them (FIN)
    reset       the same without a goodbye (RST)
    silence     connections stay, and nothing passes: a frozen host, a cable that was pulled
    delay       everything passes later
    cut_after   what the client said arrives, and the answer never does: was it done?
    trouble     all of these at moments that a seed chooses

It is the network as a test may break it, without root and without touching the server, which may be any: RabbitMQ or
PostgreSQL. With a certificate it speaks TLS to the client.
"""

import contextlib
import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536
NO_GOODBYE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close() sends RST."""

TROUBLE_SECONDS_MAX = 2.0
"""How long one trouble lasts, and the quiet after it, at most: shorter than any lease in a test."""


class Gate:
    """A port on 127.0.0.1 that leads to a server. It is shut at first, and keeps its number when it is opened again."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._target = (host, port)
        self._tls = tls
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._delay_seconds = 0.0
        self._fatal = b""
        self.was_fatal = threading.Event()
        self._lock = threading.Lock()
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]

    def url(self, url: str) -> str:
        """Return a URL that leads through the gate to what this one leads to directly."""
        parts = urlsplit(url)
        login, _, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}@127.0.0.1:{self.port}").geturl()

    def open(self) -> None:
        """Let connections through."""
        self._flows.set()
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut(self) -> None:
        """Refuse new connections and cut the present ones."""
        if self._listening is not None:
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        self.cut()

    def cut(self) -> None:
        """Cut the present connections."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Cut the present connections without a goodbye."""
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_GOODBYE)
                    end.shutdown(socket.SHUT_RD)  # tells nobody, and wakes who reads

    def silence(self) -> None:
        """Keep the connections open and let nothing through, as a frozen host would."""
        self._flows.clear()

    def resume(self) -> None:
        """Let everything through again, and at once."""
        self._delay_seconds = 0.0
        self._flows.set()

    def delay(self, seconds: float) -> None:
        """Let everything through later."""
        self._delay_seconds = seconds

    def cut_after(self, mark: bytes) -> None:
        """Let the next words of a client that contain `mark` through, no answer, and cut; `was_fatal` tells of it."""
        self.was_fatal.clear()
        self._fatal = mark

    def trouble(self, seed: int, times: int) -> None:
        """Break it so many times, in ways and at moments that the seed chooses; return when all is well again."""
        chance = random.Random(seed)
        ways: list[Callable[[], None]] = [self.cut, self.reset, self.silence, self.shut, lambda: self.delay(0.1)]
        for _ in range(times):
            chance.choice(ways)()
            threading.Event().wait(chance.uniform(0, TROUBLE_SECONDS_MAX))
            self.resume()
            if self._listening is None:
                self.open()
            threading.Event().wait(chance.uniform(0, TROUBLE_SECONDS_MAX))

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Forward both ways until either side ends."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as ends:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            ends.enter_context(client)
            server = ends.enter_context(socket.create_connection(self._target))
            with self._lock:
                self._open |= {client, server}
            back = threading.Thread(target=self._forward, args=(server, client), daemon=True)
            back.start()
            self._forward(client, server, from_client=True)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _forward(self, source: socket.socket, target: socket.socket, *, from_client: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flows.wait()
                if self._delay_seconds:
                    threading.Event().wait(self._delay_seconds)
                if from_client and self._fatal and self._fatal in data:
                    self._end_with(data, source, target)
                    return
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                lingers = end.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(NO_GOODBYE)) != NO_GOODBYE
                end.shutdown(socket.SHUT_RDWR if lingers else socket.SHUT_RD)

    def _end_with(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        """Cut the client off first, so that no answer can pass, and then let its last words through."""
        self._fatal = b""
        client.shutdown(socket.SHUT_RDWR)
        server.sendall(data)
        server.shutdown(socket.SHUT_WR)  # the server reads to the end, does what was said, and ends the rest
        self.was_fatal.set()
