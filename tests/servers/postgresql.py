"""A PostgreSQL server to test with: given, in a container, or a private one from the installed programs.

The private one keeps fsync on: what the tests promise about a killed database would mean nothing without it.
"""

import os
import pwd
import secrets
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from .given import Given
from .process import Process, free_ports, private_folder
from .server import Runner, Server, Unavailable

IMAGE = "postgres:15"
PACKAGES = Path("/usr/lib/postgresql")


class PostgreSQL(Server):
    """A server, its port, and its superuser."""

    def __init__(self, runner: Runner, origin: str, address: URL) -> None:
        super().__init__(runner, origin)
        self._address = address.set(drivername="postgresql+psycopg")
        self.host, self.port = address.host, address.port
        self.before_drop: Callable[[str], None] = lambda _url: None

    def url(self, database: str | None = None) -> str:
        """Return the SQLAlchemy URL of a database."""
        address = self._address.set(database=database) if database else self._address
        return address.render_as_string(hide_password=False)

    def connect(self, database: str | None = None) -> psycopg.Connection:
        """Open a connection that commits each statement."""
        conninfo = self.url(database).replace("postgresql+psycopg", "postgresql", 1)
        return psycopg.connect(conninfo, autocommit=True, connect_timeout=10)

    def answers(self) -> bool:
        """Whether it accepts a login."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self) -> str:
        """Make an empty database with a new name and return the name."""
        name = f"test_{secrets.token_hex(4)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def drop_database(self, name: str, *, tampered: bool = False) -> None:
        """Drop a database, after a last look at it unless a test tampered with it; its sessions are ended."""
        try:
            if not tampered:
                self.before_drop(self.url(name))
        finally:
            with self.connect() as connection:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def given(url: str) -> PostgreSQL:
    """Return the server that a URL names."""
    address = make_url(url)
    return PostgreSQL(Given(), f"given, port {address.port} of {address.host}", address)


def address_of(port: int, password: str) -> URL:
    """Return where a server of ours is reached."""
    return URL.create("postgresql+psycopg", "headway", password, "127.0.0.1", port, "postgres")


def in_container() -> PostgreSQL:
    """Make a server in a container; raise Unavailable where there is no engine or no image."""
    from .docker import Container  # noqa: PLC0415  it takes half a second, and most test runs need none of it

    password = secrets.token_urlsafe(12)
    (port,) = free_ports(1)
    env = {"POSTGRES_USER": "headway", "POSTGRES_PASSWORD": password, "POSTGRES_DB": "postgres"}
    container = Container(IMAGE, env=env, ports={5432: port})
    return PostgreSQL(container, f"a container of {IMAGE}", address_of(port, password))


def private() -> PostgreSQL:
    """Make a server from the installed programs; raise Unavailable where there are none."""
    programs = installed_programs()
    user = unprivileged_user()
    password = secrets.token_urlsafe(12)
    (port,) = free_ports(1)
    folder = private_folder("postgresql", user)
    server = [
        f"{programs}/postgres",
        "-D",
        "data",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
    ]
    # SIGINT is PostgreSQL's fast shutdown: sessions are ended, nothing committed is lost.
    runner = Process([*server, "-p", str(port)], folder=folder, env={}, user=user, stop=signal.SIGINT)
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o600)
    shutil.chown(secret, user or os.getuid())
    runner.command(
        f"{programs}/initdb", "-D", "data", "-U", "headway", "-E", "UTF8", "--no-locale", "-A", "scram-sha-256",
        f"--pwfile={secret}",
    )  # fmt: skip
    return PostgreSQL(runner, f"a private server run from {programs}", address_of(port, password))


def installed_programs() -> Path:
    """Find the folder with initdb and postgres of the newest version."""
    packaged = sorted(PACKAGES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = packaged[-1] if packaged else shutil.which("initdb")
    if found is None:
        text = "PostgreSQL is not installed (sudo apt-get install postgresql)"
        raise Unavailable(text)
    return Path(found).parent


def unprivileged_user() -> str | None:
    """Name whom the server runs as when we are root, as whom PostgreSQL refuses to run; None means ourselves."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
