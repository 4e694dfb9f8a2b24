"""A RabbitMQ node to test with: given, in a container, or a private one from the installed programs.

The private node shares nothing with a RabbitMQ of the machine: it has its own name, ports, cookie, port mapper (epmd)
and folder, and reads nothing in /etc/rabbitmq.
"""

import json
import secrets
import shutil
import signal
import socket
from base64 import b64encode
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from .given import Given
from .process import Process, free_ports, private_folder
from .server import Runner, Server, Unavailable

IMAGE = "rabbitmq:3-management"
# Where packages put the scripts themselves; the ones on the PATH switch to the user `rabbitmq`.
PROGRAMS = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"))
# RabbitMQ's own default, none, makes a node in a small virtual machine start in 15 seconds instead of 5.
QUICK_START = {"RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD": "short"}
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_METHOD = b"\x01"


class RabbitMQ(Server):
    """A node, its ports, and its administrator."""

    def __init__(self, runner: Runner, origin: str, *, login: tuple[str, str], address: tuple[str, int, int]) -> None:
        super().__init__(runner, origin)
        self.user, self.password = login
        self.host, self.port, self.management_port = address
        self.programs = ""

    def url(self, vhost: str = "/", *, user: str | None = None, password: str | None = None) -> str:
        """Return the AMQP URL of a virtual host, for the administrator or for another user."""
        login = f"{quote(user or self.user)}:{quote(password or self.password)}"
        return f"amqp://{login}@{self.host}:{self.port}/{quote(vhost, safe='')}"

    def answers(self) -> bool:
        """Whether it greets an AMQP client and its management API works."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as client:
                client.sendall(AMQP_HEADER)
                greets = client.recv(1) == FRAME_METHOD
            return greets and self.api("GET", "/overview") is not None
        except (OSError, HTTPException, RuntimeError):
            return False

    def api(self, method: str, path: str, body: object = None) -> object:
        """Ask the management API, e.g. `api("PUT", "/vhosts/x")`; return its JSON answer, None where there is none."""
        token = b64encode(f"{self.user}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        connection = HTTPConnection(self.host, self.management_port, timeout=10)
        try:
            connection.request(
                method, f"/api{path}", json.dumps(body or {}) if method in {"PUT", "POST"} else None, headers
            )
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            fault = f"{method} {path}: RabbitMQ answered {answer.status} {text.decode('utf-8', 'replace')}"
            raise RuntimeError(fault)
        return json.loads(text) if text else None

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl with these arguments and return what it printed; about a second."""
        return self.runner.command(f"{self.programs}rabbitmqctl", *args)

    def create_vhost(self) -> str:
        """Make an empty virtual host with a new name, open to the administrator, and return the name."""
        name = f"test-{secrets.token_hex(4)}"
        self.api("PUT", f"/vhosts/{name}")
        self.api("PUT", f"/permissions/{name}/{quote(self.user)}", {"configure": ".*", "write": ".*", "read": ".*"})
        return name

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host; its connections are closed."""
        self.api("DELETE", f"/vhosts/{name}")


class PrivateNode(Process):
    """A RabbitMQ process and its port mapper."""

    def __init__(self, programs: Path, folder: Path, ports: list[int], login: tuple[str, str]) -> None:
        amqp, management, distribution, mapper = ports
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{amqp}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n"
            f"default_user = {login[0]}\ndefault_pass = {login[1]}\n"
        )
        (folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        env = {
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(mapper),
            # The server then is this process, not a child of a shell script; -noinput undoes what else it does.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_NODENAME": f"headway-{amqp}@localhost",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            **QUICK_START,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        super().__init__([str(programs / "rabbitmq-server"), "-noinput"], folder=folder, env=env, stop=signal.SIGTERM)
        # One that the node starts by itself would outlive it.
        mapper_folder = folder / "epmd"
        mapper_folder.mkdir()
        self._mapper = Process([shutil.which("epmd") or "epmd"], folder=mapper_folder, env=env, stop=signal.SIGTERM)

    def start(self) -> None:
        """Run the port mapper, then the node."""
        self._mapper.start()
        super().start()

    def remove(self) -> None:
        """End both and delete the folder."""
        self._mapper.remove()
        super().remove()


def given(url: str, management_port: int) -> RabbitMQ:
    """Return the node that a URL names."""
    parts = urlsplit(url)
    login = (unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    address = (parts.hostname or "localhost", parts.port or 5672, management_port)
    return RabbitMQ(Given(), f"given, port {address[1]} of {address[0]}", login=login, address=address)


def in_container() -> RabbitMQ:
    """Make a node in a container; raise Unavailable where there is no engine or no image."""
    from .docker import Container  # noqa: PLC0415  it takes half a second, and most test runs need none of it

    login = ("headway", secrets.token_urlsafe(12))
    amqp, management = free_ports(2)
    env = {"RABBITMQ_DEFAULT_USER": login[0], "RABBITMQ_DEFAULT_PASS": login[1], **QUICK_START}
    container = Container(IMAGE, env=env, ports={5672: amqp, 15672: management})
    return RabbitMQ(container, f"a container of {IMAGE}", login=login, address=("127.0.0.1", amqp, management))


def private() -> RabbitMQ:
    """Make a node from the installed programs; raise Unavailable where there are none."""
    programs = next((folder for folder in PROGRAMS if (folder / "rabbitmq-server").exists()), None)
    if programs is None or shutil.which("epmd") is None:
        text = "RabbitMQ is not installed (sudo apt-get install rabbitmq-server)"
        raise Unavailable(text)
    login = ("headway", secrets.token_urlsafe(12))
    ports = free_ports(4)
    runner = PrivateNode(programs, private_folder("rabbitmq"), ports, login)
    node = RabbitMQ(runner, f"a private node run from {programs}", login=login, address=("127.0.0.1", *ports[:2]))
    node.programs = f"{programs}/"
    return node
