"""The sentences of `headway why`, one test for each state and what may make it stand there."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from headway.cli.explain import Explanation, explain
from headway.cli.explain_words import BECAUSE
from headway.cli.printing import show_time
from headway.protocol.dag import Shell, Task
from headway.protocol.names import BootId, DagId, QueueName, RunId, TaskId, Token, WorkerName
from headway.protocol.states import (
    AttemptState,
    EndReason,
    HoldReason,
    Intent,
    RunHold,
    RunState,
    TaskState,
    WorkerState,
)
from headway.scheduler.core.rows import Attempt, Mapped, QueueRow, Room, RoomRow, Run, TaskInstance, Worker
from headway.scheduler.store.evidence import Evidence, Server

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(seconds=90)
RUN = Run(
    run_id=RunId("r"),
    dag_id=DagId("d"),
    version=1,
    state=RunState.RUNNING,
    logical_date=NOW,
    data_interval_start=NOW,
    data_interval_end=NOW,
    params={},
    created_at=EARLIER,
    unfinished=5000,
)
TASK = TaskInstance(
    run_id=RunId("r"),
    task_id=TaskId("load"),
    position=0,
    dag_id=DagId("d"),
    state=TaskState.WAITING,
    since=EARLIER,
    queue=QueueName("io"),
    priority=0,
    try_number=1,
)
ATTEMPT = Attempt(
    run_id=RunId("r"),
    task_id=TaskId("load"),
    try_number=1,
    dag_id=DagId("d"),
    token=Token("t"),
    state=AttemptState.QUEUED,
    queue=QueueName("io"),
    publications=1,
    queued_at=EARLIER,
    published_at=EARLIER,
)
RAN = {"worker": "w1", "boot": "b1", "started_at": EARLIER}
ENDED = {**RAN, "finished_at": NOW, "host": "h1", "ran_seconds": 1.5, "decided_by": "p03/7", "tail": "one\ntwo\n"}
HOLDER = Worker(
    worker=WorkerName("w1"),
    boot=BootId("b1"),
    state=WorkerState.ONLINE,
    host="h1",
    pid=1,
    queues=(QueueName("io"),),
    slots=2,
    lease_seconds=300,
    heartbeat_seconds=5,
    headway_version="0.1.0",
    seq=1,
    online_at=EARLIER,
    last_heartbeat=NOW - timedelta(seconds=3),
    lease_due=NOW + timedelta(seconds=307),
)
SPEC = Task(task_id=TaskId("load"), command=Shell(script="true"), queue=QueueName("io"), retries=3)
QUEUE = QueueRow(queue=QueueName("io"), queued=100, waiting=7, slots=2, workers=1)
SERVER = Server(worker="w1", slots=2, running=2)


def why(state: TaskState, *attempts: dict[str, Any], task: dict[str, Any] | None = None, **facts: Any) -> Explanation:
    """Explain a task in a state, with attempts, fields of the task, and other evidence."""
    spec = msgspec.structs.replace(SPEC, **facts.pop("spec", {}))
    numbered = [{"try_number": number, **fields} for number, fields in enumerate(attempts, start=1)]
    evidence = Evidence(
        run=facts.pop("run", RUN),
        spec=spec,
        task=msgspec.structs.replace(TASK, state=state, **(task or {})),
        attempts=[msgspec.structs.replace(ATTEMPT, **fields) for fields in numbered],
        timers=facts.pop("timers", {}),
        upstream=facts.pop("upstream", {}),
        queue=facts.pop("queue", msgspec.structs.replace(QUEUE, workers=len(facts.get("servers", [])))),
        servers=facts.pop("servers", []),
        **facts,
    )
    return explain(evidence, NOW)


def text(told: Explanation) -> str:
    """Return the detail."""
    return " ".join(told.sentences)


def test_a_waiting_task_names_what_it_waits_for():
    """Those that have not ended, five by name and the rest by number."""
    upstream = {f"t{n}": TaskState.RUNNING for n in range(7)} | {"done": TaskState.SUCCESS}
    told = why(TaskState.WAITING, upstream=upstream)
    assert told.reason == "upstream"
    assert text(told) == (
        "It waits for 7 of 8 upstream tasks: t0 (running), t1 (running), t2 (running), t3 (running), t4 (running) "
        "and 2 more."
    )


def test_a_task_of_a_run_that_is_being_created_says_so():
    """Also where it is not there yet."""
    run = msgspec.structs.replace(RUN, state=RunState.QUEUED, created=2000)
    told = why(TaskState.WAITING, run=run)
    assert text(told) == "Run r is being created: 2000 of 5000 of its tasks are there."
    assert (told.state, told.reason) == ("waiting", "upstream")


def test_a_waiting_task_whose_upstreams_ended_will_be_released():
    """A large run is released slice by slice."""
    assert "release" in text(why(TaskState.WAITING, upstream={"a": TaskState.SUCCESS}))


def test_a_task_of_a_run_that_waits_for_its_turn_says_so():
    """Nothing of the run is there yet."""
    held = msgspec.structs.replace(RUN, state=RunState.QUEUED, hold=RunHold.MAX_ACTIVE_RUNS)
    evidence = Evidence(run=held, spec=SPEC, task=None, attempts=[], timers={}, upstream={}, queue=QUEUE, servers=[])
    told = explain(evidence, NOW)
    assert told.reason == "max_active_runs"
    assert text(told) == "Run r has not begun: as many runs of DAG d go on as may (max_active_runs)."


@pytest.mark.parametrize(("past", "more"), [(TaskState.RUNNING, False), (TaskState.FAILED, True)])
def test_a_task_that_depends_on_the_past_says_what_that_is(past: TaskState, more: bool):  # noqa: FBT001 - of the table
    """And what to do where it will not end otherwise."""
    run = msgspec.structs.replace(RUN, previous=RunId("q"))
    told = why(TaskState.WAITING, run=run, past=past)
    assert told.reason == "depends_on_past"
    assert text(told).startswith(f"It depends on the past, and in run q before this one it is {past}.")
    assert ("`headway why q load`" in text(told)) is more


@pytest.mark.parametrize(
    ("state", "seconds", "said"),
    [
        (TaskState.RUNNING, 60.0, "It missed its deadline, which was 2026-03-01 11:59:30Z."),
        (TaskState.RUNNING, 120.0, "Its deadline is 2026-03-01 12:00:30Z."),
        (TaskState.SUCCESS, 60.0, None),
    ],
)
def test_a_deadline_is_said(state: TaskState, seconds: float, said: str | None):
    """Of what ended in time there is nothing to say."""
    told = why(state, {"state": AttemptState.RUNNING}, spec={"deadline": seconds})
    assert [one for one in told.sentences if "deadline" in one] == ([] if said is None else [said])


def test_a_held_task_says_who_holds_it():
    """The window, what is published, who goes first, and who could take it."""
    told = why(TaskState.SCHEDULED, task={"hold": HoldReason.WINDOW}, ahead=3, servers=[SERVER])
    assert told.reason == "window"
    assert text(told) == (
        "It is ready for 1m30s and held back until queue 'io' has room. 100 of at most 100 tasks are published there, "
        "and 3 go before this one. Worker w1 with 2 slots serves this queue, 0 of them free."
    ).replace("1m30s", "90.0s")


def test_a_held_task_that_is_tried_again_says_what_happened():
    """The attempt before was lost."""
    lost = {**RAN, "state": AttemptState.LOST, "reason": EndReason.LOST, "detail": "worker w1 was started anew"}
    told = why(TaskState.SCHEDULED, lost, task={"hold": HoldReason.WINDOW})
    assert "Attempt 1 was lost because its worker was thought dead: worker w1 was started anew, and it" in text(told)


def test_a_queued_task_without_workers_says_how_to_start_one():
    """The reason is one word for scripts."""
    told = why(TaskState.QUEUED, {"publications": 3}, timers={"queued_deadline": NOW + timedelta(seconds=60)})
    assert told.reason == "no_workers"
    assert "Attempt 1 stands in queue 'io' for 90.0s, published 3 times." in told.sentences
    assert any("start one with `headway worker -q io`" in sentence for sentence in told.sentences)
    assert "If nobody takes it by 2026-03-01 12:01:00Z, it is published again." in told.sentences


def test_a_queued_task_says_who_refused_it_before():
    """With the worker's own sentence."""
    refused = {"state": AttemptState.REFUSED, "reason": EndReason.REFUSED, "detail": "module m is not on this worker"}
    told = why(TaskState.QUEUED, refused, {}, servers=[SERVER])
    assert "Attempt 1 was refused: module m is not on this worker." in told.sentences


@pytest.mark.parametrize(("running", "reason"), [(2, "no_capacity"), (1, "queued")])
def test_a_queued_task_says_whether_a_slot_is_free(running: int, reason: str):
    """Busy workers are another thing than none."""
    told = why(TaskState.QUEUED, {}, servers=[Server(worker="w1", slots=2, running=running)])
    assert told.reason == reason
    assert f"Worker w1 with 2 slots serves this queue, {2 - running} of them free." in told.sentences


def test_many_workers_are_counted():
    """More than five names help nobody."""
    servers = [Server(worker=f"w{n}", slots=2, running=0) for n in range(9)]
    assert "9 workers with 18 slots serve this queue, 18 of them free." in text(
        why(TaskState.QUEUED, {}, servers=servers)
    )


def test_a_queued_task_whose_queue_was_missing_says_so():
    """It is declared and published again."""
    came_back = {"reason": EndReason.UNROUTABLE, "detail": "the broker has no queue io", "returns": 3}
    queue = msgspec.structs.replace(QUEUE, fault="Queue 'io' exists with other arguments.")
    told = why(TaskState.QUEUED, came_back, timers={"republish": NOW}, servers=[SERVER], queue=queue)
    assert told.reason == "unroutable"
    assert told.sentences[2:] == (
        "The broker could not make the queue: Queue 'io' exists with other arguments.",
        "Its message found no queue 3 times in a row: the broker has no queue io.",
        "It is published again at 2026-03-01 12:00:00Z.",
    )


@pytest.mark.parametrize("reason", [EndReason.UNROUTABLE, EndReason.LOST, EndReason.POISONED, EndReason.REFUSED])
def test_a_message_that_came_back_says_why(reason: EndReason):
    """Free workers have nothing to do with it."""
    told = why(TaskState.QUEUED, {"reason": reason, "detail": "so"}, timers={"republish": NOW}, servers=[SERVER])
    assert told.reason == reason
    assert told.sentences[-2].endswith(": so.")


def test_a_message_that_was_refused_says_by_whom():
    """So that somebody may mend those workers."""
    refused_by = {"w1": ("b1", 1), "w2": ("b2", 1)}
    refused = {"reason": EndReason.REFUSED, "detail": "no module m", "refused_by": refused_by}
    told = why(TaskState.QUEUED, refused, timers={"republish": NOW}, servers=[SERVER])
    assert "2 have refused it so far: w1, w2." in told.sentences


def test_a_message_that_was_mended_waits_for_a_worker_only():
    """It stands in its queue again."""
    assert why(TaskState.QUEUED, {"reason": EndReason.LOST}, servers=[SERVER]).reason == "no_capacity"


@pytest.mark.parametrize(("seconds", "reason"), [(5, "broker_full"), (500, "unpublished")])
def test_a_message_that_is_not_with_the_broker_says_so(seconds: int, reason: str):
    """The broker refuses it, or is away."""
    queue = msgspec.structs.replace(QUEUE, full_at=NOW - timedelta(seconds=seconds))
    told = why(TaskState.QUEUED, {}, unsent=True, queue=queue, servers=[SERVER])
    assert told.reason == reason
    assert ("its queue is full" in told.sentences[-1]) == (reason == "broker_full")


@pytest.mark.parametrize(
    ("rule", "act"), [("fail", "then it fails."), ("requeue", "it goes on waiting, behind others.")]
)
def test_patience_is_said(rule: str, act: str):
    """What happens when it is over depends on the author."""
    told = why(TaskState.QUEUED, {}, timers={"queued_timeout": NOW}, spec={"on_queued_timeout": rule})
    assert told.sentences[-1].endswith(act)


def test_a_running_task_says_where():
    """Worker, host, boot, since when, how long it is believed, and what will end it."""
    told = why(TaskState.RUNNING, {**RAN, "state": AttemptState.RUNNING}, holder=HOLDER, spec={"timeout": 3600.0})
    assert told.reason is None
    assert told.sentences == (
        "Attempt 1 runs on worker w1 on host h1 (boot b1) for 90.0s.",
        "The worker is online, was heard 3.0s ago and is believed alive until 2026-03-01 12:05:07Z.",
        "Its timeout ends it after 1h.",
    )


def test_a_running_task_that_is_cancelled_says_by_whom():
    """It ends when its worker has stopped it."""
    task = {"intent": Intent.CANCEL, "detail": "cancelled by alice"}
    told = why(TaskState.RUNNING, {**RAN, "state": AttemptState.RUNNING}, holder=HOLDER, task=task)
    assert told.reason == "cancel"
    assert "It was cancelled by alice: its worker is told to stop it" in text(told)
    told = why(
        TaskState.RUNNING,
        {**RAN, "state": AttemptState.RUNNING},
        task=task,
        timers={"unkillable": NOW},
        spec={"on_partition": "keep"},
    )
    assert "If it has not by 2026-03-01 12:00:00Z, nobody waits for it any more." in told.sentences
    assert told.sentences[-1].startswith("Should its worker be cut off for its lease, it runs on")


def test_a_second_attempt_says_what_became_of_the_first():
    """While it runs, too."""
    first = {**ENDED, "state": AttemptState.FAILED, "reason": EndReason.SIGNAL, "signal": "SIGKILL"}
    told = why(TaskState.RUNNING, first, {**RAN, "state": AttemptState.RUNNING}, holder=HOLDER)
    assert told.sentences[-1] == "Attempt 1 failed by SIGKILL, which Headway did not send."


@pytest.mark.parametrize(("seconds", "when"), [(10, "in 10.0s"), (-1, "now")])
def test_a_task_that_is_up_for_retry_says_when(seconds: int, when: str):
    """And what went wrong, and what is left."""
    failed = {**ENDED, "state": AttemptState.FAILED, "reason": EndReason.EXIT_CODE, "exit_code": 3}
    told = why(
        TaskState.UP_FOR_RETRY,
        failed,
        task={"reason": EndReason.EXIT_CODE, "retries_used": 1},
        timers={"retry": NOW + timedelta(seconds=seconds)},
    )
    assert told.reason == "exit_code"
    assert told.sentences[0] == "Attempt 1 failed with exit code 3."
    assert f"Attempt 2 is due {when}, at" in told.sentences[1]
    assert told.sentences[1].endswith("2 of 3 retries are left after it.")
    assert told.last_lines == ("one", "two")


POLLED = {**ENDED, "state": AttemptState.POLLING, "exit_code": 75, "polls": 2}
GIVES_UP = {"poll_timeout": NOW + timedelta(hours=1)}


@pytest.mark.parametrize(("seconds", "when"), [(10, "in 10.0s"), (-1, "now")])
def test_a_task_that_polls_says_when_it_asks_again(seconds: int, when: str):
    """And what it said last, and until when it may."""
    due = NOW + timedelta(seconds=seconds)
    told = why(TaskState.UP_FOR_RESCHEDULE, POLLED, timers={"poll": due, **GIVES_UP})
    assert told.reason == "poll"
    assert told.sentences[0] == "Poll 2 of attempt 1 said 'not yet', on worker w1 (host h1) after 1.5s."
    assert told.sentences[2].startswith(f"Its next poll is due {when}, at ")
    assert told.sentences[3] == "Its poll_timeout is over at 2026-03-01 13:00:00Z: then it fails."
    assert told.last_lines == ("one", "two")


def test_a_poll_that_waits_or_runs_says_which_one_it_is():
    """In each state on its way."""
    held = why(TaskState.SCHEDULED, POLLED, task={"hold": HoldReason.WINDOW}, timers=GIVES_UP)
    assert held.sentences[-2:] == (
        "Poll 2 of attempt 1 said 'not yet', and it will be tried again.",
        "Its poll_timeout is over at 2026-03-01 13:00:00Z: then it fails.",
    )
    queued = why(TaskState.QUEUED, {"polls": 3}, timers=GIVES_UP)
    assert queued.sentences[0].startswith("Poll 3 of attempt 1 stands in queue 'io'")
    assert queued.sentences[-1].startswith("Its poll_timeout is over")
    running = why(TaskState.RUNNING, {**RAN, "state": AttemptState.RUNNING, "polls": 3}, holder=HOLDER)
    assert running.sentences[0].startswith("Poll 3 of attempt 1 runs on worker w1")


def test_a_task_that_skipped_itself_says_so():
    """With its exit code and its last lines."""
    skipped = {**ENDED, "state": AttemptState.SKIPPED, "reason": EndReason.EXIT_CODE, "exit_code": 99}
    told = why(TaskState.SKIPPED, skipped, task={"reason": EndReason.EXIT_CODE, "since": NOW})
    assert told.sentences[0] == "Attempt 1 said 'skip' with exit code 99, on worker w1 (host h1) after 1.5s."
    assert told.last_lines == ("one", "two")


def test_a_success_says_who_and_how_long():
    """And which event decided it."""
    told = why(TaskState.SUCCESS, {**ENDED, "state": AttemptState.SUCCESS, "exit_code": 0}, task={"since": NOW})
    assert told.reason is None
    assert told.sentences == (
        "Attempt 1 succeeded, on worker w1 (host h1) after 1.5s.",
        "Event p03/7 decided it, at 2026-03-01 12:00:00Z.",
    )


def test_a_failure_shows_its_last_lines():
    """Without what a terminal would obey."""
    failed = {**ENDED, "state": AttemptState.FAILED, "reason": EndReason.OUT_OF_MEMORY, "tail": "a\x1b[2J\nb\n"}
    told = why(TaskState.FAILED, failed, task={"reason": EndReason.OUT_OF_MEMORY, "infra_used": 1})
    assert "Attempt 1 failed because its host ran out of memory, on worker w1" in text(told)
    assert "1 of 1 infra_retries were used." in told.sentences
    assert told.last_lines == ("a\ufffd[2J", "b")


def test_a_task_that_failed_unpublished_says_why():
    """What it takes in was missing."""
    detail = "task 'a' wrote no output"
    told = why(TaskState.FAILED, task={"reason": EndReason.BAD_INPUT, "detail": detail})
    assert told.reason == "bad_input"
    assert told.sentences == ("Task 'a' wrote no output.", "It ended at 2026-03-01 11:58:30Z, and was never published.")


def test_a_withdrawn_attempt_was_on_no_worker():
    """Cancelled while it was queued."""
    withdrawn = {
        "state": AttemptState.WITHDRAWN,
        "reason": EndReason.CANCELLED,
        "finished_at": NOW,
        "decided_by": "p03/9",
    }
    told = why(TaskState.CANCELLED, withdrawn, task={"reason": EndReason.CANCELLED, "detail": "cancelled by alice"})
    assert told.sentences[:2] == ("Attempt 1 was withdrawn because an operator cancelled it.", "Cancelled by alice.")


def test_a_task_that_was_cancelled_before_its_retry_says_both():
    """The attempt's end is one event, the task's another."""
    failed = {
        **ENDED,
        "finished_at": EARLIER,
        "state": AttemptState.FAILED,
        "reason": EndReason.EXIT_CODE,
        "exit_code": 3,
    }
    task = {"since": NOW, "reason": EndReason.CANCELLED, "detail": "cancelled by alice"}
    assert why(TaskState.CANCELLED, failed, task=task).sentences == (
        "Attempt 1 failed with exit code 3, on worker w1 (host h1) after 1.5s.",
        "Cancelled by alice.",
        "It ended at 2026-03-01 12:00:00Z.",
    )


def test_a_fallen_task_names_the_upstreams_that_fell():
    """Only those that did not succeed."""
    upstream = {"a": TaskState.SUCCESS, "b": TaskState.FAILED, "c": TaskState.UPSTREAM_FAILED, "d": TaskState.RUNNING}
    told = why(TaskState.UPSTREAM_FAILED, task={"reason": EndReason.UPSTREAM_FAILED}, upstream=upstream)
    assert told.reason == "upstream_failed"
    assert text(told).endswith("upstream tasks did not succeed: b (failed), c (upstream_failed).")


def test_what_waits_by_another_rule_says_so():
    """The rule is what one looks for if a task does not begin."""
    told = why(TaskState.WAITING, upstream={"a": TaskState.RUNNING}, spec={"trigger_rule": "one_failed"})
    assert text(told) == "It waits for 1 of 1 upstream tasks: a (running). Its trigger rule is one_failed."


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        (EndReason.NOT_CHOSEN, "branch pick chose other ways", "because a branch goes another way: branch pick chose"),
        (EndReason.SKIPPED_BY_RULE, "upstream task a ended as success", "because its trigger rule skips it: upstream"),
    ],
)
def test_what_was_skipped_says_by_what(reason, detail, said):
    """It was never started."""
    told = why(TaskState.SKIPPED, task={"reason": reason, "detail": detail})
    assert told.reason == reason
    assert said in text(told)


def test_what_fell_by_another_rule_or_with_a_setup_says_so():
    """All directly upstream of it may have gone well."""
    detail = "setup task s ended as failed, and the trigger rule is all_done"
    fields = {"task": {"reason": EndReason.UPSTREAM_FAILED, "detail": detail}, "spec": {"trigger_rule": "all_done"}}
    told = text(why(TaskState.UPSTREAM_FAILED, upstream={"a": TaskState.SUCCESS}, **fields))
    assert told == "It was never started, because setup task s ended as failed, and the trigger rule is all_done."
    told = text(why(TaskState.UPSTREAM_FAILED, upstream={"a": TaskState.FAILED}, **fields))
    assert told.endswith("did not succeed: a (failed). Setup task s ended as failed, and the trigger rule is all_done.")


@pytest.mark.parametrize("state", TaskState)
def test_every_state_is_explained(state: TaskState):
    """Nothing stands without a sentence (P4)."""
    assert why(state, {}, task={"hold": HoldReason.WINDOW}).sentences


IN_QUEUE = {"task": {"hold": HoldReason.WINDOW, "room": "queue/io"}}
IN_LINE = {"task": {"hold": HoldReason.DAG_LIMIT, "room": "run/r&task/d/load&pool/db"}}
HOLDERS: dict[HoldReason, dict[str, Any]] = {
    HoldReason.WINDOW: IN_QUEUE | {"queue": QUEUE},
    HoldReason.NO_WORKERS: IN_QUEUE | {"queue": msgspec.structs.replace(QUEUE, workers=0)},
    HoldReason.BROKER_FULL: IN_QUEUE | {"queue": msgspec.structs.replace(QUEUE, full_at=NOW)},
    HoldReason.POOL: IN_LINE | {"lacks": RoomRow(room=Room("pool/db"), slots=3, used=2, waiting=9)},
    HoldReason.DAG_LIMIT: IN_LINE | {"lacks": RoomRow(room=Room("run/r"), slots=16, used=16, waiting=1)},
    HoldReason.TASK_LIMIT: IN_LINE | {"lacks": RoomRow(room=Room("task/d/load"), slots=1, used=1, waiting=1)},
    HoldReason.PAUSED: {"task": {"hold": HoldReason.PAUSED, "room": "paused/d"}},
}


@pytest.mark.parametrize("hold", HoldReason)
def test_every_hold_is_explained(hold: HoldReason):
    """By a sentence of its own: a new hold needs one."""
    assert why(TaskState.SCHEDULED, **HOLDERS[hold]).reason == hold
    first = {why(TaskState.SCHEDULED, **evidence).sentences[0] for evidence in HOLDERS.values()}
    assert len(first) == len(HoldReason)


def test_a_task_in_a_line_says_what_its_first_one_lacks():
    """How much of it there is, who has it and who wants it; nothing of workers, which could not help."""
    told = why(TaskState.SCHEDULED, spec={"pool": "db", "pool_slots": 2}, ahead=4, **HOLDERS[HoldReason.POOL])
    assert text(told) == (
        "It is ready for 90.0s and held back until 2 slots are free in pool 'db', for it and for those before it. "
        "2 of 3 are taken, 9 wait, and of those like it 4 go before this one."
    )
    assert "max_active_tasks is 16." in text(why(TaskState.SCHEDULED, **HOLDERS[HoldReason.DAG_LIMIT]))
    assert "max_active is 1." in text(why(TaskState.SCHEDULED, **HOLDERS[HoldReason.TASK_LIMIT]))


def test_a_task_of_a_paused_dag_names_the_command():
    """Whoever reads it may be the one to unpause it."""
    told = why(TaskState.SCHEDULED, **HOLDERS[HoldReason.PAUSED])
    assert text(told) == (
        "It is ready for 90.0s and held back until DAG 'd' is no longer paused: `headway unpause d`. "
        "0 of its DAG's go before this one."
    )


ENDED_BY = [
    *((TaskState.FAILED, AttemptState.FAILED, reason) for reason in EndReason),
    *((TaskState.UP_FOR_RETRY, AttemptState.FAILED, reason) for reason in EndReason),
    *((TaskState.SCHEDULED, AttemptState.LOST, reason) for reason in EndReason),
    *((TaskState.CANCELLED, AttemptState.CANCELLED, reason) for reason in EndReason),
    *((TaskState.FAILED, AttemptState.WITHDRAWN, reason) for reason in EndReason),
]


@pytest.mark.parametrize(("state", "ended", "reason"), ENDED_BY)
def test_every_reason_is_explained(state: TaskState, ended: AttemptState, reason: EndReason):
    """By words of its own, whatever state it led to: a new reason needs some."""
    details = {**ENDED, "state": ended, "reason": reason, "exit_code": None, "signal": None}
    told = why(state, details, task={"reason": reason, "since": NOW, "hold": HoldReason.WINDOW})
    assert BECAUSE[reason] in text(told)
    assert state is TaskState.SCHEDULED or told.reason == reason
    assert len(set(BECAUSE.values())) == len(EndReason)


MAPPED = Mapped(size=12, created=12, released=12, success=2, failed=7)
INSTANCES = {TaskState.SUCCESS: 2, TaskState.FAILED: 6, TaskState.CANCELLED: 1, TaskState.RUNNING: 3}
SHOWN = {f"load[{index}]": TaskState.FAILED for index in range(5)} | {"load[9]": TaskState.RUNNING}


def test_a_mapped_task_counts_its_instances():
    """Names some that failed and one that is under way, and says how to ask about that."""
    told = why(TaskState.MAPPED, task={"mapped": MAPPED}, instances=INSTANCES, shown=SHOWN)
    assert (told.reason, told.sentences) == (
        "instances",
        (
            "Of its 12 instances 3 are running, 2 ended as success, 6 ended as failed, 1 ended as cancelled.",
            "Without success ended load[0], load[1], load[2], load[3], load[4] and 2 more.",
            "`headway why r 'load[9]'` tells why one of them is in its state.",
        ),
    )


@pytest.mark.parametrize(
    ("mapped", "intent", "sentence"),
    [
        (Mapped(), None, "Its trigger rule holds: the scheduler is about to make its instances."),
        (Mapped(size=5000, created=2000), None, "2000 of its 5000 instances are made: they begin when all are."),
        (
            Mapped(size=5000, created=5000, released=1000),
            None,
            "1000 of its 5000 instances were let begin, the others follow.",
        ),
        (
            Mapped(size=5, created=5),
            Intent.CANCEL,
            "It was cancelled by alice: its instances end without success.",
        ),
    ],
)
def test_a_mapped_task_says_how_far_it_is(mapped: Mapped, intent: Intent | None, sentence: str):
    """In its slices."""
    told = why(TaskState.MAPPED, task={"mapped": mapped, "intent": intent, "detail": "cancelled by alice"})
    assert told.sentences[0] == sentence


def test_an_instance_waits_for_the_others_to_be_made():
    """None begins before."""
    node = msgspec.structs.replace(TASK, mapped=Mapped(size=5000, created=2000))
    told = why(TaskState.WAITING, task={"map_index": 7}, node=node)
    assert (told.reason, text(told)) == (
        "mapped",
        "It begins when all 5000 instances of its task are made: 2000 are.",
    )


def test_a_mapped_task_that_failed_names_who_did():
    """And how many of how many."""
    task = {"mapped": MAPPED, "reason": EndReason.INSTANCES, "detail": "7 of its 12 instances did not succeed"}
    told = why(TaskState.FAILED, task=task, instances={TaskState.FAILED: 1}, shown={"load[3]": TaskState.FAILED})
    assert told.sentences[:2] == ("7 of its 12 instances did not succeed.", "Without success ended load[3].")
    assert told.sentences[2] == f"It ended at {show_time(EARLIER)}."
