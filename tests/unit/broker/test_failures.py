"""The one table that makes foreign errors ours."""

import ssl

import pytest
from pika import exceptions
from pika.adapters.utils import connection_workflow as workflow

from headway.broker.failures import reply_of, translate
from headway.protocol.errors import BrokerRefused, BrokerUnavailable, QueueMismatch, WorkerNameTaken
from headway.protocol.topology import Exchange, Queue, control_queue

REFUSED_SOCKET = workflow.AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))
HANDSHAKE = workflow.AMQPConnectorAMQPHandshakeError(
    exceptions.ProbableAccessDeniedError("ConnectionClosedByBroker: (541) 'INTERNAL_ERROR - vhost is down'")
)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (exceptions.ChannelClosedByBroker(404, "NOT_FOUND - no queue"), 404, "NOT_FOUND - no queue"),
        (exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), 320, "CONNECTION_FORCED"),
        (
            exceptions.ProbableAuthenticationError("ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login'"),
            403,
            "ACCESS_REFUSED - Login",
        ),
        (exceptions.ProbableAccessDeniedError("ConnectionClosedByBroker: (530) \"vhost 'x'\""), 530, "vhost 'x'"),
        (workflow.AMQPConnectionWorkflowFailed([HANDSHAKE]), 541, "INTERNAL_ERROR - vhost is down"),
        (
            exceptions.AMQPConnectionError(
                workflow.AMQPConnectionWorkflowFailed([ValueError("first"), REFUSED_SOCKET])
            ),
            None,
            "Connection refused",
        ),
        (exceptions.AMQPHeartbeatTimeout("No activity"), None, "No activity"),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), None, "certificate verify failed"),
        (OSError("odd"), None, "odd"),
        (exceptions.ConnectionBlockedTimeout(), None, "ConnectionBlockedTimeout"),
    ],
)
def test_the_broker_s_word_is_found_in_pika_s_wrappings(error: Exception, code: int | None, text: str):
    """Its reply code, and a text for a person."""
    assert reply_of(error) == (code, text)


@pytest.mark.parametrize(
    ("code", "text", "declared", "expected"),
    [
        (403, "ACCESS_REFUSED - Login", None, BrokerRefused),
        (403, "ACCESS_REFUSED - access to queue", Queue(name="q"), BrokerRefused),
        (530, "NOT_ALLOWED - vhost x not found", None, BrokerRefused),
        (530, "NOT_ALLOWED - access to vhost refused: connection limit (1) is reached", None, BrokerUnavailable),
        (406, "PRECONDITION_FAILED - inequivalent arg", Queue(name="q"), QueueMismatch),
        (406, "PRECONDITION_FAILED - inequivalent arg", Exchange(name="e"), QueueMismatch),
        (406, "PRECONDITION_FAILED - delivery acknowledgement timed out", None, BrokerUnavailable),
        (405, "RESOURCE_LOCKED", control_queue("w1"), WorkerNameTaken),
        (405, "RESOURCE_LOCKED", None, BrokerUnavailable),
        (404, "NOT_FOUND - no exchange", Exchange(name="e"), BrokerUnavailable),
        (320, "CONNECTION_FORCED - broker forced connection closure", None, BrokerUnavailable),
        (541, "INTERNAL_ERROR - vhost is down", None, BrokerUnavailable),
    ],
)
def test_each_answer_of_the_broker_has_one_meaning(
    code: int, text: str, declared: Exchange | Queue | None, expected: type[Exception]
):
    """What passes is BrokerUnavailable."""
    error = translate(exceptions.ChannelClosedByBroker(code, text), url="amqp://h", declared=declared)
    assert type(error) is expected
    assert text in str(error) or expected is WorkerNameTaken


def test_the_text_names_what_it_is_about():
    """The queue, the exchange, the worker."""

    def text(code: int, declared: Exchange | Queue) -> str:
        return str(translate(exceptions.ChannelClosedByBroker(code, "why"), url="amqp://h", declared=declared))

    assert text(406, Queue(name="q1")).startswith("Queue 'q1' exists")
    assert text(406, Exchange(name="e1")).startswith("Exchange 'e1' exists")
    assert text(405, control_queue("w1")).startswith("A worker named 'w1' is connected already")
