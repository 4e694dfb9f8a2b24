"""The permissions in docs/protocol.md, given to a real broker: each role can do its work and nothing else."""

import re
import shlex
from contextlib import closing
from pathlib import Path

import pika
import pytest

from headway.protocol.topology import DEAD, EVENTS, EXCHANGES, LOG_QUEUE, LOGS, TASKS, event_queue, task_queue

PAGE = Path(__file__).parents[2] / "docs/protocol.md"
PASSWORD = "CHANGE-ME"
WORKER, ALICE, SCHEDULER, LOGKEEPER = "headway-db1", "headway-alice", "headway-scheduler", "headway-logkeeper"
ACCESS_REFUSED = 403
CONTROL = "headway.control.db1-1"


@pytest.fixture(scope="module")
def connect(rabbitmq):
    """Run the page's commands for a virtual host and users of this test, and give a way to connect as one of them."""
    vhost = rabbitmq.create_vhost()
    users = {user: user.replace("headway", vhost) for user in (WORKER, ALICE, SCHEDULER, LOGKEEPER)}
    for command in re.findall(r"^rabbitmqctl (.*)$", PAGE.read_text("utf-8"), re.MULTILINE):
        words = [users.get(word, vhost if word == "headway" else word) for word in shlex.split(command)]
        if words[0] != "add_vhost":
            rabbitmq.ctl(*words)
    with closing(_connection(rabbitmq, vhost, users[SCHEDULER])) as connection:
        _declare_all(connection.channel())
    yield lambda user: (_connection(rabbitmq, vhost, users[user]), users[user])
    for user in users.values():
        rabbitmq.api("DELETE", f"/users/{user}")
    rabbitmq.delete_vhost(vhost)


def _connection(rabbitmq, vhost, user):
    return pika.BlockingConnection(pika.URLParameters(rabbitmq.url(vhost, user=user, password=PASSWORD)))


def _declare_all(channel):
    for exchange in EXCHANGES:
        arguments = {"alternate-exchange": exchange.alternate} if exchange.alternate else {}
        channel.exchange_declare(exchange.name, "topic", durable=True, arguments=arguments)
    for queue in (event_queue(0), event_queue(16), task_queue("io"), task_queue("other"), LOG_QUEUE):
        arguments = {name: value for name, value in queue.arguments.items() if value != -1}
        channel.queue_declare(queue.name, durable=True, arguments=arguments)
        for binding in queue.bindings:
            channel.queue_bind(queue.name, binding.exchange, binding.pattern)


def is_allowed(connect, user, act):
    """Say whether the broker lets a user do something: what it refuses costs the channel."""
    connection, name = connect(user)
    with closing(connection):
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            act(channel, name)
        except pika.exceptions.ChannelClosedByBroker as refusal:
            return refusal.reply_code != ACCESS_REFUSED
        return True


def publish(exchange, key, claimed=None):
    """Return the act of publishing; `{}` in the key stands for the user."""

    def act(channel, user):
        channel.basic_publish(exchange, key.format(user), b"{}", pika.BasicProperties(user_id=claimed))

    return act


def consume(queue, **declare):
    """Return the act of reading a queue, declaring it first if asked to."""

    def act(channel, _user):
        if declare:
            channel.queue_declare(queue, **declare)
        channel.basic_consume(queue, lambda *_: None)

    return act


def keep_logs(channel, _user):
    """Declare the queue of output as a logkeeper does, and read it."""
    channel.queue_declare(LOG_QUEUE.name, durable=True, arguments=LOG_QUEUE.arguments)
    for binding in LOG_QUEUE.bindings:
        channel.queue_bind(LOG_QUEUE.name, binding.exchange, binding.pattern)
    channel.basic_consume(LOG_QUEUE.name, lambda *_: None)


@pytest.mark.parametrize(
    ("user", "act"),
    [
        (WORKER, consume(CONTROL, exclusive=True)),
        (WORKER, consume("headway.q.io")),
        (WORKER, publish(EVENTS, "event.{}.started.p00")),
        (WORKER, publish(EVENTS, "event.{}.finished.p00")),
        (WORKER, publish(EVENTS, "event.{}.refused.p00")),
        (WORKER, publish(EVENTS, "event.{}.online.workers")),
        (WORKER, publish(EVENTS, "event.{}.heartbeat.workers")),
        (WORKER, publish(EVENTS, "event.{}.offline.workers")),
        (WORKER, publish(LOGS, "log.{}")),
        (LOGKEEPER, keep_logs),
        (ALICE, publish(EVENTS, "event.{}.trigger.p00")),
        (ALICE, publish(EVENTS, "event.{}.cancel.p00")),
        (ALICE, publish(EVENTS, "event.{}.dag_version.p00")),
        (SCHEDULER, publish(EVENTS, "event.{}.capacity.p00")),
        (SCHEDULER, publish(EVENTS, "event.{}.task_timer.p00")),
        (SCHEDULER, publish(TASKS, "task.io.p00")),
        (SCHEDULER, publish("", "headway.q.io")),
        (SCHEDULER, consume("headway.events.p00")),
    ],
)
def test_each_role_can_do_its_work(connect, user, act):
    """With exactly the commands of the page."""
    assert is_allowed(connect, user, act)


@pytest.mark.parametrize(
    ("user", "act"),
    [
        (WORKER, publish(EVENTS, "event.{}.trigger.p00")),
        (WORKER, publish(EVENTS, "event.{}.worker_lost.p00")),
        (WORKER, publish(EVENTS, "event.{}.task_timer.p00")),
        (WORKER, publish(EVENTS, "event.headway-alice.started.p00")),
        (WORKER, publish(DEAD, "task.io.p00")),
        (WORKER, publish(TASKS, "task.io.p00")),
        (WORKER, publish("", CONTROL)),
        (WORKER, publish(LOGS, "log.headway-alice")),
        (WORKER, consume(LOGS)),
        (WORKER, consume("headway.q.other")),
        (WORKER, consume("headway.events.p00")),
        (WORKER, consume("headway.control.db2-1", exclusive=True)),
        (ALICE, publish(EVENTS, "event.{}.started.p00")),
        (ALICE, publish(EVENTS, "event.{}.finished.p00")),
        (ALICE, publish(EVENTS, "event.{}.lease_timer.workers")),
        (ALICE, publish(TASKS, "task.io.p00")),
        (ALICE, publish(LOGS, "log.{}")),
        (LOGKEEPER, publish(LOGS, "log.{}")),
        (LOGKEEPER, publish(LOGS, "log.headway-db1")),
        (LOGKEEPER, publish(EVENTS, "event.{}.started.p00")),
        (LOGKEEPER, consume("headway.events.p00")),
        (ALICE, publish("", "headway.q.io")),
        (ALICE, consume("headway.q.io")),
    ],
)
def test_no_role_can_do_anothers(connect, user, act):
    """Forging begins with a login that was given for something else."""
    assert not is_allowed(connect, user, act)


def test_nobody_publishes_in_anothers_name(connect):
    """The broker compares `user_id` with the connection's user."""
    connection, name = connect(WORKER)
    with closing(connection):
        channel = connection.channel()
        channel.confirm_delivery()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="user_id property"):
            publish(EVENTS, "event.{}.started.p00", claimed="guest")(channel, name)
