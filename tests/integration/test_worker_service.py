"""A worker as a process, on a real broker, with the scheduler's part played by hand."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from brokers import Gate
from director import Director, WorkerProcess
from headway.broker.connecting import connect
from headway.broker.port import Delivered
from headway.protocol.dag import Argv, OutputRef, Shell
from headway.protocol.messages import Drop, Finished, Grant, Heartbeat, Offline, Online, Refused, Started, Stop
from headway.protocol.names import partition_of, task_key
from headway.protocol.states import EndReason
from headway.protocol.topology import DEAD, TASKS, Queue, control_queue_name, event_queue, task_queue_name
from headway.worker.service import WorkerService
from headway.worker.settings import WorkerSettings
from processes import assert_dead, wait_for_files, wait_for_lines
from servers import RabbitMQ

FAMILY = "sleep 1000 & echo $!; (trap '' TERM HUP; sleep 1000) & echo $!; echo $$; wait"
"""A leader and what it starts; it writes all their numbers."""

Start = Callable[..., WorkerProcess]


@pytest.fixture
def director(fresh_vhost: str) -> Iterator[Director]:
    """Give a scheduler without a mind, on a broker of its own."""
    director = Director(fresh_vhost)
    yield director
    director.close()


@pytest.fixture
def start(fresh_vhost: str, tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a worker; all of them go after the test."""
    started: list[WorkerProcess] = []

    def start(url: str = fresh_vhost, **settings: object) -> WorkerProcess:
        started.append(WorkerProcess(url, tmp_path, **settings))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def end(tmp_path: Path) -> Path:
    """Give a pipe: a task that reads from it ends when the test writes to it, which waits until it reads."""
    pipe = tmp_path / "end"
    os.mkfifo(pipe)
    return pipe


def test_a_queue_that_somebody_else_made_stops_no_other(director: Director, start: Start):
    """Its arguments cannot be changed from here: that is said, and the other queues are served."""
    director.broker.declare(Queue(name=task_queue_name("alien"), arguments={"x-queue-type": "classic"}))
    worker = start(queues=["alien", "default"])
    director.hand_out("t1")
    director.grant("t1")
    assert director.expect(Finished, "t1").exit_code == 0
    assert "'headway.q.alien' exists on the broker with other arguments" in worker.said()


def log_of(home: Path, token: str = "t1") -> Path:
    """Return the log of a task."""
    return home / "logs" / "r" / f"task-{token}.1.log"


def shell(script: str) -> Shell:
    """Return a command."""
    return Shell(script=script)


def test_a_task_is_asked_for_granted_run_and_reported(director: Director, start: Start, tmp_path: Path):
    """The whole way, with its output, its log and its message gone."""
    start(heartbeat_seconds=0.5)
    online = director.expect(Online)
    assert (online.worker, online.host, online.queues, online.slots) == ("w1", "host", ("default",), 2)
    script = 'echo "$HEADWAY_RUN_ID/$HEADWAY_TASK_ID"; echo "{\\"rows\\": 5}" > "$HEADWAY_OUTPUT"'
    director.hand_out(command=shell(script))
    started = director.grant()
    assert (started.worker, started.boot) == (online.worker, online.boot)
    result = director.expect(Finished)
    assert (result.exit_code, result.reason, result.detail) == (0, None, "")
    assert (result.output, result.tail) == (msgspec.Raw(b'{"rows": 5}'), "r/task-t1\n")
    assert result.ran_seconds > 0
    assert log_of(tmp_path).read_text() == "r/task-t1\n"
    director.wait_for_depth(ready=0, consumers=2)
    assert not any((tmp_path / "workers/w1/tasks").iterdir())
    assert director.expect(Heartbeat, count=2).held == ()


def test_inputs_reach_a_task(director: Director, start: Start):
    """As a file, and as an argument."""
    start()
    inputs = {"up": msgspec.Raw(b'{"rows": [1, 2]}')}
    script = 'import json, os, sys; print(json.load(open(os.environ["HEADWAY_INPUTS"])), sys.argv[1:])'
    args = ("python3", "-c", script, OutputRef(task_id="up", path=("rows", 1)), "{{ ds }}")
    director.hand_out(command=Argv(args=args), inputs=inputs)
    director.grant()
    assert director.expect(Finished).tail == "{'up': {'rows': [1, 2]}} ['2', '2026-01-02']\n"


def test_the_workers_settings_stay_its_own(director: Director, start: Start):
    """A child sees PATH and what is Headway's."""
    start(inherited={"PATH": os.environ["PATH"], "HEADWAY_BROKER_URL": "amqp://user:secret@host"})
    director.hand_out(command=shell("env"))
    director.grant()
    names = {line.split("=")[0] for line in director.expect(Finished).tail.splitlines()}
    assert {name for name in names if not name.startswith("HEADWAY_")} <= {"PATH", "PWD", "SHLVL", "_"}
    assert "HEADWAY_BROKER_URL" not in names


def test_a_drop_runs_nothing(director: Director, start: Start, tmp_path: Path):
    """The message is gone, and the slot free."""
    start()
    director.hand_out("t1", command=shell("echo ran"))
    director.order(Drop, director.expect(Started), detail="cancelled")
    director.wait_for_depth(ready=0, consumers=2)
    director.hand_out("t2")
    director.grant("t2")
    assert director.expect(Finished).token == "t2"
    assert not log_of(tmp_path).exists()


@pytest.mark.parametrize("reason", [EndReason.CANCELLED, EndReason.TIMEOUT])
def test_a_stop_ends_the_whole_group(director: Director, start: Start, tmp_path: Path, reason: EndReason):
    """And says why."""
    start()
    director.hand_out(command=shell(FAMILY))
    started = director.grant()
    pids = wait_for_lines(log_of(tmp_path), 3)
    director.order(Stop, started, reason=reason)
    result = director.expect(Finished)
    assert (result.reason, result.signal) == (reason, "SIGTERM")
    assert_dead(*pids)


def test_a_timeout_ends_a_task(director: Director, start: Start):
    """The worker keeps the time."""
    start()
    director.hand_out(command=shell("sleep 1000"), timeout_seconds=0.2)
    director.grant()
    result = director.expect(Finished)
    assert (result.reason, result.signal) == (EndReason.TIMEOUT, "SIGTERM")
    assert "its timeout of 200ms" in result.detail
    assert 0.2 <= result.ran_seconds < 10


def test_a_task_that_cannot_start_says_why(director: Director, start: Start):
    """No program, no folder."""
    start()
    director.hand_out("t1", command=Argv(args=("no-such-tool",)))
    director.grant("t1")
    director.hand_out("t2", cwd="/no/folder")
    director.grant("t2")
    first, second = director.expect(Finished, "t1"), director.expect(Finished, "t2")
    assert first.detail.startswith("there is no program 'no-such-tool' in PATH ")
    assert second.detail == "cannot enter the folder /no/folder: No such file or directory"
    assert {first.reason, second.reason} == {EndReason.NOT_STARTED}


def test_a_long_task_gives_its_message_and_its_consumer_up(director: Director, start: Start, end: Path):
    """While it runs nobody holds a message, and the queue has one consumer less."""
    start()
    director.hand_out(command=shell("read < $END"), env={"END": str(end)})
    director.grant()
    director.wait_for_depth(consumers=1)
    end.write_text("now\n")
    assert director.expect(Finished).exit_code == 0
    director.wait_for_depth(ready=0, consumers=2)


def test_a_malformed_task_goes_to_the_dead_letters(director: Director, start: Start):
    """And from there to its partition; the worker goes on."""
    worker = start()
    director.expect(Online)
    message = director.hand_out(run_id="../../etc")
    director.hand_out(secrets=["../../etc/shadow"])
    director.publish(b"{", exchange=TASKS, key=task_key("default", message.dag_id))
    partition = event_queue(partition_of(message.dag_id)).name

    def is_dead(signal: Delivered) -> bool:
        return (signal.delivery.queue, signal.delivery.exchange) == (partition, DEAD)

    director.listener.wait_for(Delivered, count=3, where=is_dead)
    assert worker.said().count("that cannot be read was rejected") == 3
    director.hand_out()
    director.grant()
    assert director.expect(Finished).exit_code == 0


def test_a_malformed_order_is_a_remark(director: Director, start: Start):
    """The worker goes on."""
    worker = start()
    director.expect(Online)
    director.publish(b"{", key=control_queue_name("w1"), kind="grant")
    director.hand_out()
    director.grant()
    director.expect(Finished)
    assert "An order that cannot be read was ignored" in worker.said()


def test_what_it_cannot_run_is_refused(director: Director, start: Start):
    """With the reason, and the message acked."""
    start()
    director.hand_out(secrets=["db"])
    assert "db" in director.expect(Refused).detail
    director.wait_for_depth(ready=0, consumers=2)


def test_no_child_outlives_a_killed_worker(director: Director, start: Start, tmp_path: Path):
    """Nothing of its group is left."""
    worker = start()
    director.hand_out(command=shell(FAMILY))
    director.grant()
    pids = wait_for_lines(log_of(tmp_path), 3)
    worker.kill()
    assert_dead(*pids)


def test_children_end_with_the_lease_of_a_frozen_worker(director: Director, start: Start, tmp_path: Path):
    """The spawner kills them in time, and the worker says so when it wakes."""
    worker = start(lease_seconds=3.0, heartbeat_seconds=0.5)
    director.hand_out(command=shell(FAMILY))
    director.grant()
    pids = wait_for_lines(log_of(tmp_path), 3)
    worker.signal(signal.SIGSTOP)
    assert_dead(*pids)
    worker.signal(signal.SIGCONT)
    result = director.expect(Finished)
    assert (result.reason, result.signal, result.oom) == (EndReason.LEASE, "SIGKILL", False)


def test_the_end_of_the_spawner_ends_the_worker_with_a_sentence(director: Director, start: Start, tmp_path: Path):
    """Its child is reported as killed, and `offline` said."""
    worker = start()
    director.hand_out(command=shell('echo "$PPID"; sleep 1000'))
    director.grant()
    (spawner,) = wait_for_lines(log_of(tmp_path), 1)
    os.kill(int(spawner), signal.SIGKILL)
    result = director.expect(Finished)
    assert (result.reason, result.signal) == (EndReason.SHUTDOWN, "SIGKILL")
    director.expect(Offline)
    assert worker.wait() == 1
    assert "the process that starts children died" in worker.said()


def test_a_cut_connection_hurts_nobody(director: Director, start: Start, gate: Gate, fresh_vhost: str, end: Path):
    """What runs goes on, what is asked for is asked for again, and no other boot begins."""
    worker = start(gate.url(fresh_vhost), slots=1, heartbeat_seconds=0.5)
    director.hand_out("t1", command=shell("read < $END"), env={"END": str(end)})
    first = director.grant("t1")
    director.wait_for_depth(consumers=0)
    gate.cut()
    director.expect(Heartbeat, count=2)
    end.write_text("now\n")
    assert director.expect(Finished, "t1").exit_code == 0
    director.hand_out("t2")
    director.expect(Started, "t2")
    gate.cut()
    again = director.expect(Started, "t2", count=2)
    assert again.boot == first.boot
    director.order(Grant, again)
    assert director.expect(Finished, "t2").exit_code == 0
    director.wait_for_depth(ready=0, consumers=1)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_result_survives_the_worker(director: Director, start: Start, gate: Gate, fresh_vhost: str, end: Path):
    """It ended while the broker was away, and the worker was killed: the next boot says it, and lists it as spooled."""
    worker = start(gate.url(fresh_vhost))
    director.hand_out(command=shell("read < $END; exit 3"), env={"END": str(end)})
    started = director.grant()
    director.wait_for_depth(consumers=1)
    gate.shut()
    end.write_text("now\n")
    wait_for_files(end.parent / "workers/w1/spool", "*.json", 1)
    worker.kill()
    director.wait_for_depth(consumers=0)
    start()
    result = director.expect(Finished)
    assert (result.exit_code, result.boot) == (3, started.boot)
    online = director.expect(Online, count=2)
    assert online.boot != started.boot
    assert [(held.task_id, held.state) for held in online.held] == [("task-t1", "spooled")]
    wait_for_files(end.parent / "workers/w1/spool", "*", 0)


def test_a_drain_lets_children_end_and_gives_the_rest_back(director: Director, start: Start, tmp_path: Path, end: Path):
    """What was asked for is in the queue again; what runs ends; `offline`, exit 0, nothing left."""
    worker = start()
    director.hand_out("t1", command=shell("read < $END"), env={"END": str(end)})
    director.grant("t1")
    director.hand_out("t2")
    director.expect(Started, "t2")
    worker.signal(signal.SIGTERM)
    director.wait_for_depth(ready=1, consumers=0)
    end.write_text("now\n")
    assert director.expect(Finished).exit_code == 0
    director.expect(Offline)
    assert worker.wait() == 0
    assert not any((tmp_path / "workers/w1/spool").iterdir())
    assert director.depth().ready == 1


def test_a_second_sigterm_ends_children(director: Director, start: Start, tmp_path: Path):
    """The result says that the worker was stopped."""
    worker = start()
    director.hand_out(command=shell("echo up; sleep 1000"))
    director.grant()
    wait_for_lines(log_of(tmp_path), 1)
    worker.signal(signal.SIGTERM)
    director.wait_for_depth(consumers=0)
    worker.signal(signal.SIGTERM)
    result = director.expect(Finished)
    assert (result.reason, result.signal) == (EndReason.SHUTDOWN, "SIGTERM")
    assert worker.wait() == 0


def test_a_name_is_taken_once(director: Director, start: Start):
    """The second worker says what to do."""
    start()
    director.expect(Online)
    second = start()
    assert second.wait() == 1
    assert "WorkerNameTaken: A worker named 'w1' is connected already" in second.said()


def test_a_refused_login_is_an_error(start: Start, rabbitmq: RabbitMQ):
    """Trying again would not mend it."""
    worker = start(f"amqp://nobody:wrong@{rabbitmq.host}:{rabbitmq.port}/")
    assert worker.wait() == 1
    assert "BrokerRefused" in worker.said()


def test_a_worker_may_live_in_a_thread(director: Director, fresh_vhost: str, tmp_path: Path):
    """As in the embedded mode, where no signal reaches it; its home may be named from where it is."""
    home = Path(os.path.relpath(tmp_path))
    settings = WorkerSettings(home=home, queues=("default",), slots=1, inherited={"PATH": os.environ["PATH"]})
    service = WorkerService(settings, lambda sink: connect(fresh_vhost, name="headway worker", sink=sink))
    thread = threading.Thread(target=service.run)
    thread.start()
    director.hand_out("t1", command=shell("pwd"))
    director.grant("t1")
    assert director.expect(Finished, "t1").tail == f"{Path.cwd()}\n"
    director.hand_out("t2", command=shell("echo 1 > $HEADWAY_OUTPUT"), cwd="/")
    director.grant("t2")
    assert director.expect(Finished, "t2").output == msgspec.Raw(b"1")
    service.stop()
    thread.join(timeout=20)
    assert not thread.is_alive()
