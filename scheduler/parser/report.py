"""What the parser's two processes say to each other, and to whoever asked for a file: values only."""

from typing import Final

import msgspec

from headway.protocol.dag import Dag

FIRST_LINE: Final = 1

YAML_SUFFIXES: Final = (".dag.yaml", ".dag.yml")
DOCUMENT_SUFFIXES: Final = (".dag.json", *YAML_SUFFIXES)

LAST_CHANCE_SECONDS: Final = 1.0
"""How much longer a file may run that swallows the end of its time."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one file may take to be read: time, and memory (address space) of its process."""

    timeout_seconds: float = 30.0
    memory_bytes: int = 2 * 1024**3


class FileProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A fault in one sentence, the line to look at, and the DAG it is in, where it is in one."""

    line: int = FIRST_LINE
    message: str
    dag_id: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a child found in a file: the legal DAGs as encoded values, and what is wrong with the others."""

    dags: tuple[msgspec.Raw, ...] = ()
    problems: tuple[FileProblem, ...] = ()


class ParsedDag(msgspec.Struct, frozen=True, kw_only=True):
    """A legal DAG. The digest is that of its value, so a new comment or a moved line makes no new version."""

    dag: Dag
    body: bytes
    digest: str
    task_count: int


class ParsedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A DAG file, read: its legal DAGs, and its problems in the order of their lines."""

    file: str
    dags: tuple[ParsedDag, ...] = ()
    problems: tuple[FileProblem, ...] = ()
