"""Every error that Headway raises, as a tree by whose fault it is.

The docstring of a class is its default message; `{names}` in it are filled from the keyword arguments, which stay
readable as `fields`. A message says what was wrong, with the value, and what to do next. Foreign errors are translated
once, at the boundary, always `raise ... from`.
"""

import inspect


class HeadwayError(Exception):
    """Headway failed: {detail}."""

    exit_code = 1

    def __init__(self, message: str | None = None, /, **fields: object) -> None:
        """Use `message` as it is, or fill the class's docstring from `fields`."""
        self.fields = fields
        template = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(message if message is not None else template.format(**fields))


class UserError(HeadwayError):
    """{detail}"""  # noqa: D400 - the message, as it was given

    exit_code = 2


class InvalidName(UserError):
    """{what} {value!r} is not a legal name: {rule}."""


class InvalidDuration(UserError):
    """{value!r} is not a duration: write seconds as a number, or like "90s", "10m", "1h30m", up to 366 days."""


class InvalidDag(UserError):
    """{detail}"""  # noqa: D400 - the message, as it was given


class UnknownDag(UserError):
    """DAG {dag_id!r} is not known here: put its file into HEADWAY_DAGS and run `headway dags sync`."""


class UnknownRun(UserError):
    """Run {run_id!r} is not known here: `headway runs` lists the runs."""


class UnknownTask(UserError):
    """Run {run_id!r} has no task {task_id!r}: `headway runs show {run_id}` lists its tasks."""


class WrongSettings(UserError):
    """Setting {name} = {value!r} is not usable: {detail}."""


class HomeTaken(UserError):
    """{home} is in use by {other}: wait for it, or give this one a folder of its own with HEADWAY_HOME."""


class NothingRuns(UserError):
    """Nothing runs in {home}: start `headway standalone` there, or set HEADWAY_BROKER_URL to a scheduler's broker."""


class WrongConfig(UserError):
    """{place}: {detail}."""


class PeerError(HeadwayError):
    """A peer broke the protocol: {detail}."""


class MalformedMessage(PeerError):
    """Not a message that this version understands: {detail}."""


class Unavailable(HeadwayError):
    """{what} cannot be reached just now: {detail}."""


class NoAnswer(Unavailable):
    """{home} did not answer within {seconds:g} s; what you asked for may still be done: look with `headway runs`."""


class BrokerUnavailable(Unavailable):
    """The broker at {url} cannot be reached ({detail}): start RabbitMQ there, or set HEADWAY_BROKER_URL."""


class BrokerRefused(UserError):
    """The broker at {url} refuses us ({detail}): check user, password and virtual host in HEADWAY_BROKER_URL."""


class QueueMismatch(UserError):
    """Queue {queue!r} exists on the broker with other arguments ({detail}): delete it there once it is empty."""


class OneProcessOnly(UserError):
    """{url} joins the services of one process: run `headway standalone`, or set HEADWAY_BROKER_URL to amqp://HOST."""


class WorkerNameTaken(UserError):
    """A worker named {worker!r} is connected already: give this one a name of its own with --name."""


class DatabaseUnavailable(Unavailable):
    """The database at {url} cannot be reached ({detail}): start it, or set HEADWAY_DATABASE_URL."""


class DatabaseFull(Unavailable):
    """There is no space left for the database at {url} ({detail}): free some, and what waits goes on by itself."""


class DatabaseRefused(UserError):
    """The database at {url} refuses us ({detail}): check user, password and database in HEADWAY_DATABASE_URL."""


class SchemaNotCurrent(UserError):
    """The database's schema is {found}, this Headway needs {needed}: run `headway db upgrade`."""


class StaleDecision(HeadwayError):
    """The database no longer holds what was decided upon ({detail}): the batch is decided again."""


class Corrupt(HeadwayError):
    """Stored data contradicts itself ({detail}): stop, keep the files and run `headway audit`."""


class DatabaseCorrupt(Corrupt):
    """The database at {url} cannot be read ({detail}): put a backup back, or move it away and start anew."""
