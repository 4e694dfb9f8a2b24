"""A server as a child process of ours, in a folder of its own.

It leads a session of its own, so Ctrl-C at the tests does not reach it before they have closed it; and the kernel ends
it when the test process dies (setpriv --pdeathsig), so a killed test run leaves nothing running; an `Undertaker`
removes what remains.
"""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

STOP_SECONDS_MAX = 30
LOG_CHARACTERS = 4000
# Below the range from which Linux takes the ports of outgoing connections: there a client's socket could take a
# server's port while it restarts.
PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return different ports of 127.0.0.1 on which nobody listens."""
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(PORTS, k=len(PORTS)):
            candidate = held.enter_context(socket.socket())
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    text = f"no {count} free ports between {PORTS.start} and {PORTS.stop}"
    raise OSError(text)


def private_folder(name: str, owner: str | None = None) -> Path:
    """Make a temporary folder that `owner` (default: we) alone can read."""
    folder = Path(tempfile.mkdtemp(prefix=f"headway-{name}-"))
    if owner:
        shutil.chown(folder, owner)
    return folder


class Undertaker:
    """Runs a command when it is told to, or when we die, however that comes: it waits for the end of a pipe from us."""

    def __init__(self, *command: str) -> None:
        script = ["sh", "-c", 'read -r _; exec "$@"', "undertaker", *command]
        self._process = subprocess.Popen(
            script, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def now(self) -> None:
        """Run it and wait until it is done."""
        self._process.communicate()


class Process:
    """One server process, its folder and its log."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        env: Mapping[str, str],
        user: str | None = None,
        stop: signal.Signals,
    ) -> None:
        self._command, self._folder, self._user, self._stop = command, folder, user, stop
        self._env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(folder), **env}
        self._process: subprocess.Popen[bytes] | None = None
        self._undertaker = Undertaker("rm", "-rf", str(folder))

    def start(self) -> None:
        """Run it; nothing where it runs. A frozen one is thawed."""
        if self._process and self._process.poll() is None:
            self.thaw()
            return
        with (self._folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", *self._identity(), "--pdeathsig=KILL", "--", *self._command],
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ask it to end and wait until it has."""
        if self._process:
            self.thaw()
            self._process.send_signal(self._stop)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it and its children with SIGKILL."""
        if self._process:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def freeze(self) -> None:
        """Stop it and its children with SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it and its children go on with SIGCONT."""
        self._signal(signal.SIGCONT)

    def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds from now."""
        if self._process is None:
            return True
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def command(self, *args: str) -> str:
        """Run a program with the server's environment and user, and return what it printed."""
        argv = ["setpriv", *self._identity(), "--", *args]
        done = subprocess.run(argv, cwd=self._folder, env=self._env, capture_output=True, text=True, check=False)
        if done.returncode:
            text = f"{' '.join(args)} exited with {done.returncode}: {done.stderr or done.stdout}"
            raise RuntimeError(text)
        return done.stdout

    def log(self) -> str:
        """Return the end of what it wrote."""
        path = self._folder / "output.log"
        return path.read_text("utf-8", "replace")[-LOG_CHARACTERS:] if path.exists() else "(it wrote nothing)"

    def remove(self) -> None:
        """End it at once and delete its folder."""
        self.kill()
        self._undertaker.now()

    def _identity(self) -> list[str]:
        if self._user is None:
            return []
        entry = pwd.getpwnam(self._user)
        return [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to the children it has now; PostgreSQL's leave the process group."""
        if self._process is None or self._process.poll() is not None:
            return
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
        for target in (pid, *map(int, children)):
            try:
                os.kill(target, number)
            except ProcessLookupError:
                continue
