"""Who the adapters on RabbitMQ are to the broker: logins, permissions, properties, TLS."""

import ssl
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote

import pytest

from brokers import Gate, Listener
from brokers.rabbit import NAME, QUEUE, Open, joined, message, vhost_of
from headway.broker.connecting import connect
from headway.broker.port import Confirmed, Disconnected, Failed, Unconfirmed
from headway.protocol.errors import BrokerRefused
from headway.protocol.topology import TASKS, control_queue, task_queue
from servers import RabbitMQ


def refused(url: str, opened: Open) -> str:
    """Return the text with which the broker refuses us for good."""
    listener = Listener()
    opened(connect(url, name=NAME, sink=listener))
    (failed,) = listener.wait_for(Failed)
    assert isinstance(failed.error, BrokerRefused)
    assert listener.signals == [failed]
    return str(failed.error)


def test_a_wrong_password_is_told_once(prefix: str, amqp_url: str, rabbitmq: RabbitMQ, opened: Open):
    """No second try, and the password is not shown."""
    url = prefix + rabbitmq.url(vhost_of(amqp_url), password="mistaken")
    text = refused(url, opened)
    assert "ACCESS_REFUSED" in text
    assert "mistaken" not in text


def test_an_unknown_virtual_host_is_told_once(prefix: str, rabbitmq: RabbitMQ, opened: Open):
    """No second try."""
    assert "vhost nowhere not found" in refused(prefix + rabbitmq.url("nowhere"), opened)


@pytest.fixture
def worker_url(prefix: str, amqp_url: str, rabbitmq: RabbitMQ) -> str:
    """Give the URL of a user with a worker's rights: to publish events, to read its queues, to make its own queue."""
    rights = {
        "configure": r"^headway\.control\.w1$",
        "write": r"^headway\.events$",
        "read": r"^headway\.(q\.default|control\.w1)$",
    }
    rabbitmq.api("PUT", "/users/w1", {"password": "secret", "tags": ""})
    rabbitmq.api("PUT", f"/permissions/{vhost_of(amqp_url)}/w1", rights)
    return prefix + rabbitmq.url(unquote(vhost_of(amqp_url)), user="w1", password="secret")


def test_a_worker_that_may_declare_nothing_uses_what_is_there(amqp_url: str, worker_url: str, opened: Open):
    """It waits for the exchanges; it reports, and takes orders, though its queue of tasks is made only later."""
    listener = Listener()
    worker = connect(worker_url, name="headway worker w1", sink=listener)
    worker.consume(control_queue("w1"), prefetch=1)
    worker.consume(task_queue("default"), prefetch=1)
    opened(worker)
    assert "no exchange" in listener.wait_for(Disconnected)[0].detail
    scheduler, scheduler_listener = joined(amqp_url, opened)
    scheduler.declare(QUEUE)
    scheduler.consume(QUEUE, prefetch=1)
    listener.connected()
    scheduler.publish(message(1, exchange="", key=control_queue("w1").name))
    listener.deliveries(1)
    worker.publish(message(2))
    assert scheduler_listener.deliveries(1)[0].user_id == "w1"
    scheduler.declare(task_queue("default"))
    scheduler.publish(message(3, exchange=TASKS, key="task.default.p00"))
    assert listener.deliveries(2)[1].message_id == "m3"


def test_publishing_without_permission_ends_all_tries(amqp_url: str, worker_url: str, opened: Open):
    """The refused message is lost, and the service hears why."""
    joined(amqp_url, opened)
    broker, listener = joined(worker_url, opened)
    broker.publish(message(1, exchange=TASKS))
    (failed,) = listener.wait_for(Failed)
    assert isinstance(failed.error, BrokerRefused)
    assert f"access to exchange '{TASKS}'" in str(failed.error)
    assert listener.all_of(Unconfirmed) == [Unconfirmed("m1", "lost")]


def test_consuming_without_permission_ends_all_tries(amqp_url: str, worker_url: str, opened: Open):
    """A worker that is started with a queue which is not its own hears why."""
    scheduler, scheduler_listener = joined(amqp_url, opened)
    scheduler.declare(QUEUE)
    scheduler.publish(message(1))
    scheduler_listener.wait_for(Confirmed)
    broker, listener = joined(worker_url, opened)
    broker.consume(QUEUE, prefetch=1)
    (failed,) = listener.wait_for(Failed)
    assert isinstance(failed.error, BrokerRefused)
    assert f"access to queue '{QUEUE.name}'" in str(failed.error)


def test_messages_carry_their_properties(amqp_url: str, rabbitmq: RabbitMQ, opened: Open):
    """Persistent unless transient; JSON; the time in seconds; the user that the broker checked."""
    broker, listener = joined(amqp_url, opened)
    broker.declare(QUEUE)
    began = int(time.time())
    broker.publish(message(1))
    broker.publish(message(2, transient=True))
    listener.wait_for(Confirmed, count=2)
    fetch = {"count": 2, "ackmode": "ack_requeue_false", "encoding": "auto"}
    got = rabbitmq.api("POST", f"/queues/{vhost_of(amqp_url)}/{QUEUE.name}/get", fetch)
    persistent, transient = (item["properties"] for item in got)
    assert began <= persistent.pop("timestamp") <= time.time()
    assert persistent == {
        "headers": {"x-delivery-count": 0},  # the queue's
        "message_id": "m1",
        "type": "test",
        "user_id": broker.user,
        "content_type": "application/json",
        "delivery_mode": 2,
    }
    assert (transient["message_id"], transient["delivery_mode"]) == ("m2", 1)


def test_tls_checks_whom_it_talks_to(
    amqp_url: str, rabbitmq: RabbitMQ, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A certificate of a known authority for this host connects; one for another host does not."""
    gates = {host: tls_gate(rabbitmq, host, tmp_path) for host in ("localhost", "elsewhere.example")}
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "all.pem"))
    (tmp_path / "all.pem").write_text("".join(path.read_text() for path in tmp_path.glob("*.crt")))
    urls = {
        host: gate.url(amqp_url).replace("amqp://", "amqps://").replace("127.0.0.1", "localhost")
        for host, gate in gates.items()
    }
    _, listener = joined(urls["localhost"], opened)
    listener = Listener()
    opened(connect(urls["elsewhere.example"], name=NAME, sink=listener))
    assert "certificate verify failed" in listener.wait_for(Disconnected)[0].detail
    for gate in gates.values():
        gate.shut()


def tls_gate(server: RabbitMQ, host: str, folder: Path) -> Gate:
    """Return an open gate that shows a certificate for this host, made here."""
    key, certificate = folder / f"{host}.key", folder / f"{host}.crt"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={host} -addext subjectAltName=DNS:{host}"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    gate = Gate(server.host, server.port, tls=tls)
    gate.open()
    return gate
