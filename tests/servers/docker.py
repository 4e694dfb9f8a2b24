"""A server as a container, through testcontainers.

Its reaper is an image of its own that a machine may not have and cannot get; ours is a child process (Undertaker).
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping

from requests.exceptions import ConnectionError as NoAnswer
from requests.exceptions import ReadTimeout
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from .process import LOG_CHARACTERS, STOP_SECONDS_MAX, Undertaker
from .server import Unavailable

PULL_SECONDS_MAX = 300
REMOVE = "import docker, sys; docker.from_env().containers.get(sys.argv[1]).remove(force=True, v=True)"


def need_image(image: str) -> None:
    """Raise Unavailable unless an engine answers and has the image, which is pulled where that is possible."""
    if not docker("version"):
        text = "no Docker engine answers"
        raise Unavailable(text)
    if not docker("image", "inspect", image) and not docker("pull", "--quiet", image):
        text = f"the Docker engine has no image {image} and could not pull it"
        raise Unavailable(text)


def docker(*args: str) -> bool:
    """Whether a docker command succeeds; the client library would leak its socket where no engine answers."""
    if shutil.which("docker") is None:
        return False
    try:
        return not subprocess.run(
            ["docker", *args], capture_output=True, timeout=PULL_SECONDS_MAX, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return False


class Container:
    """One container with ports that outlive a restart."""

    def __init__(self, image: str, *, env: Mapping[str, str], ports: Mapping[int, int]) -> None:
        need_image(image)
        testcontainers_config.ryuk_disabled = True
        self._made = DockerContainer(image).with_envs(**env)
        # A port that Docker chooses is another one after each restart.
        self._made.ports = {str(inside): ("127.0.0.1", outside) for inside, outside in ports.items()}
        self._undertaker: Undertaker | None = None

    def start(self) -> None:
        """Run it; nothing where it runs. A frozen one is thawed."""
        if self._undertaker is None:
            self._made.start()
            self._undertaker = Undertaker(sys.executable, "-c", REMOVE, self._container.id)
            return
        self.thaw()
        self._container.start()

    def stop(self) -> None:
        """Ask it to end and wait until it has."""
        self.thaw()
        self._container.stop(timeout=STOP_SECONDS_MAX)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._status() in {"running", "paused"}:
            self._container.kill()
            self._container.wait()

    def freeze(self) -> None:
        """Put its control group into the freezer."""
        if self._status() == "running":
            self._container.pause()

    def thaw(self) -> None:
        """Take its control group out of the freezer."""
        if self._status() == "paused":
            self._container.unpause()

    def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds from now."""
        try:
            self._container.wait(timeout=within)
        except (ReadTimeout, NoAnswer):
            return False
        return True

    def command(self, *args: str) -> str:
        """Run a program in the container and return what it printed."""
        done = self._container.exec_run(list(args))
        text = done.output.decode("utf-8", "replace")
        if done.exit_code:
            text = f"{' '.join(args)} exited with {done.exit_code}: {text}"
            raise RuntimeError(text)
        return text

    def log(self) -> str:
        """Return the end of what it wrote."""
        return self._container.logs().decode("utf-8", "replace")[-LOG_CHARACTERS:]

    def remove(self) -> None:
        """Remove it with its volumes."""
        if self._undertaker:
            self._undertaker.now()

    @property
    def _container(self):
        return self._made.get_wrapped_container()

    def _status(self) -> str:
        self._container.reload()
        return self._container.status
