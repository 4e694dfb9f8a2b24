"""A gate on the way to a server: TCP forwarded byte for byte, until a test shuts it, cuts it, or lets it fall silent.

It is the network as a test may break it, without root and without touching the server. With a certificate it speaks
TLS to the client.
"""

import contextlib
import socket
import ssl
import threading
from urllib.parse import urlsplit

CHUNK_BYTES = 65_536


class Gate:
    """A port on 127.0.0.1 that leads to a server. It is shut at first, and keeps its number when it is opened again."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self._target = (host, port)
        self._tls = tls
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
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

    def silence(self) -> None:
        """Keep the connections open and let nothing through, as a frozen host would."""
        self._flows.clear()

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
            self._forward(client, server)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
