"""F22, F24: messages that nobody should have sent; each is refused or ignored with a reason, and no state changes."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pika
import pytest
from sqlalchemy import create_engine, text

from headway.protocol.codec import encode
from headway.protocol.kinds import kind_of
from headway.protocol.messages import Finished, Message, Started, TaskTimer
from headway.protocol.names import BootId, Token, WorkerName, event_key, partition_label, partition_of, task_key
from headway.protocol.topology import DEAD, EVENTS, TASKS
from servers import RabbitMQ
from trial import Trial

MALLORY = "headway-mallory"
DAG = "target"
HUGE_BYTES = 5_000_000


class Attempt(NamedTuple):
    """What a forger may have seen of a running attempt."""

    about: dict[str, Any]
    worker: str
    boot: str

    def finished(self, **changed: Any) -> Finished:
        """Return a result that would count, but for what is changed."""
        fields = {"worker": WorkerName(self.worker), "boot": BootId(self.boot), "seq": 10**6, "exit_code": 1}
        return Finished(**self.about | fields | changed)

    def started(self) -> Started:
        """Return what its worker said."""
        return Started(**self.about, worker=WorkerName(self.worker), boot=BootId(self.boot), seq=10**6)

    def timer(self) -> TaskTimer:
        """Return a timer that is due later."""
        run_id = self.about["run_id"]
        return TaskTimer(dag_id=DAG, run_id=run_id, task_id="l0_0", timer="retry", due=LATER, listening_since=LATER)


class Forger:
    """Publishes as the services' own user, or as another."""

    def __init__(self, rabbitmq: RabbitMQ, vhost: str) -> None:
        self._rabbitmq, self._vhost, self.user = rabbitmq, vhost, rabbitmq.user

    def publish(self, body: bytes, *, exchange: str = EVENTS, key: str, user: str | None = None, **about: Any) -> None:
        """Publish bytes; `user` None claims none."""
        login = {"user": MALLORY, "password": MALLORY} if user == MALLORY else {}
        parameters = pika.URLParameters(self._rabbitmq.url(self._vhost, **login))
        with closing(pika.BlockingConnection(parameters)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(exchange, key, body, pika.BasicProperties(user_id=user, **about), mandatory=True)

    def say(self, event: Message, **about: Any) -> None:
        """Publish an event as its sender would."""
        kind = kind_of(event)
        key = event_key(self.user, kind, partition_of(DAG))
        self.publish(encode(event), key=key, user=self.user, type=kind, **about)

    def write(self, body: bytes, kind: str = "finished") -> None:
        """Publish what is no event, with all around it as it should be."""
        self.publish(body, key=event_key(self.user, kind, partition_of(DAG)), user=self.user, type=kind)


@pytest.fixture
def forger(rabbitmq: RabbitMQ, vhost: str) -> Iterator[Forger]:
    """Give a forger, and the broker a second user who may write anywhere."""
    rabbitmq.api("PUT", f"/users/{MALLORY}", {"password": MALLORY, "tags": ""})
    rabbitmq.api("PUT", f"/permissions/{vhost}/{MALLORY}", {"configure": ".*", "write": ".*", "read": ".*"})
    yield Forger(rabbitmq, vhost)
    rabbitmq.api("DELETE", f"/users/{MALLORY}")


def attempt_of(database_url: str, run_id: str) -> Attempt:
    """Return all that there is to know of the only attempt of a run."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        names = "task_id, map_index, try_number, token, worker, boot"
        statement = text(f"SELECT {names} FROM attempts WHERE run_id = :run_id")  # noqa: S608 - our own names
        row = dict(connection.execute(statement, {"run_id": run_id}).mappings().one())
    engine.dispose()
    worker, boot = row.pop("worker"), row.pop("boot")
    return Attempt({"dag_id": DAG, "run_id": run_id, **row}, worker, boot)


def quarantined(database_url: str) -> list[str]:
    """Return the reasons of what is quarantined."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        reasons = list(connection.execute(text("SELECT reason FROM quarantine ORDER BY id")).scalars())
    engine.dispose()
    return reasons


LATER = datetime.now(UTC) + timedelta(hours=1)

IGNORED: dict[str, tuple[Callable[[Forger, Attempt], None], str]] = {
    "a wrong token": (lambda f, a: f.say(a.finished(token=Token("f" * 16))), "its token is not the attempt's"),
    "another worker": (lambda f, a: f.say(a.finished(worker=WorkerName("w9"))), "was granted to boot"),
    "another boot": (lambda f, a: f.say(a.finished(boot=BootId("b9"))), "was granted to boot"),
    "an attempt that is not": (lambda f, a: f.say(a.finished(try_number=9)), "no such attempt"),
    "a replay": (lambda f, a: f.say(a.started()), "granted before to this boot"),
    "the future": (lambda f, a: f.say(a.timer()), ""),
}

REFUSED: dict[str, tuple[Callable[[Forger, Attempt], None], str]] = {
    "no user": (
        lambda f, a: f.publish(encode(a.finished()), key=event_key(f.user, "finished", partition_of(DAG))),
        "nobody vouches for it",
    ),
    "a key of somebody else": (
        lambda f, a: f.publish(
            encode(a.finished()), key=event_key(f.user, "finished", partition_of(DAG)), user=MALLORY
        ),
        "is not that of its content",
    ),
    "a dead letter that nobody wrote": (
        lambda f, a: f.publish(
            json.dumps({"kind": "task", "v": 1, **a.about, "try": 1}).encode(),
            exchange=DEAD,
            key=f"task.held.{partition_label(partition_of(DAG))}",
            user=MALLORY,
            headers={"x-death": [{"reason": "expired", "queue": "headway.q.held"}]},
        ),
        "not for events of others",
    ),
    "no JSON": (lambda f, _: f.write(b"{not json"), ""),
    "no text": (lambda f, _: f.write(b"\x00\xff\xfe"), ""),
    "a huge body": (lambda f, _: f.write(b"[" * HUGE_BYTES), ""),
    "a wrong schema": (lambda f, _: f.write(b'{"kind":"finished","v":1,"dag_id":7}'), ""),
    "an unknown kind": (lambda f, _: f.write(b'{"kind":"magic","v":1}', "magic"), ""),
    "an unknown version": (
        lambda f, a: f.write(json.dumps(json.loads(encode(a.finished())) | {"v": 999}).encode()),
        "",
    ),
    "a task that is none": (
        lambda f, _: f.publish(b"\x00 no task", exchange=TASKS, key=task_key("held", DAG), user=f.user),
        "",
    ),
}


def test_what_is_forged_or_malformed_changes_nothing(trial: Trial, forger: Forger, tmp_path: Path) -> None:
    """While a task runs, all of it is sent: each leaves one record with its reason, and the task ends as it would."""
    trial.cluster.start_worker("held", slots=2, queue="held")
    run_id = trial.run(DAG, 1, queue="held", work=f"until [ -e {tmp_path}/go ]; do sleep 0.1; done")
    trial.wait_for("begun", 1)
    url = trial.cluster.env["HEADWAY_DATABASE_URL"]
    attempt, before = attempt_of(url, run_id), trial.cluster.json("runs", "show", run_id)
    for forge, _ in (IGNORED | REFUSED).values():
        forge(forger, attempt)

    def ignored() -> list[str]:
        events = trial.cluster.json("events", run_id)
        return [event["reason"] for event in events if event["verdict"] == "ignored"]

    trial.cluster.wait_for(lambda: len(quarantined(url)) == len(REFUSED) and len(ignored()) >= len(IGNORED))
    for name, (_, reason) in IGNORED.items():
        assert any(reason in said for said in ignored()), name
    for (name, (_, reason)), said in zip(REFUSED.items(), quarantined(url), strict=True):
        assert reason in said or name.startswith("a task"), name
    assert trial.cluster.json("runs", "show", run_id) == before
    (tmp_path / "go").touch()
    assert trial.judge("F22, F24", run_id).recovered == 0
