"""Version 1 of every kind of message, as values; a kind with several faces has `<kind>.<face>` too."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from headway.protocol.dag import Argv, OutputRef, Python, Shell
from headway.protocol.dag_events import (
    Backfill,
    BackfillStep,
    DagVersion,
    PastEnded,
    Pause,
    RunCapacity,
    RunDue,
    ScheduleTimer,
    Unpause,
)
from headway.protocol.log_chunk import LogChunk
from headway.protocol.messages import (
    Cancel,
    Capacity,
    Code,
    Continue,
    DeliveryLimit,
    Drop,
    Expired,
    Finished,
    Grant,
    Heartbeat,
    Held,
    Instance,
    LeaseTimer,
    Message,
    Missing,
    NotHeld,
    Offline,
    Online,
    Refused,
    Rejected,
    RunContext,
    RunTimer,
    Started,
    Stop,
    Task,
    TaskTimer,
    Trigger,
    Unroutable,
    WorkerLost,
)
from headway.protocol.names import BootId, DagId, QueueName, RunId, TaskId, Token, WorkerName
from headway.protocol.schedule import Schedule
from headway.protocol.states import EndReason

DAG: Final = DagId("nightly_sales")
RUN: Final = RunId("nightly_sales__2026-01-02T02:00:00Z")
BACKFILL: Final = "nightly_sales__backfill_20260201T060708Z_1f3c"
LOAD: Final = TaskId("load")
EXTRACT: Final = TaskId("extract")
IO: Final = QueueName("io")
DUE: Final = datetime(2026, 1, 2, 2, 10, 30, 250000, tzinfo=UTC)
SINCE: Final = datetime(2026, 1, 1, tzinfo=UTC)

ATTEMPT: Final[dict[str, Any]] = {
    "dag_id": DAG,
    "run_id": RUN,
    "task_id": LOAD,
    "try_number": 1,
    "token": Token("5f0c2a9be1d84c7f"),
}
BOOT: Final[dict[str, Any]] = {"worker": WorkerName("db1-1"), "boot": BootId("01JGJ8Y3V6")}
SELF: Final[dict[str, Any]] = {
    "host": "db1",
    "pid": 4711,
    "queues": (QueueName("default"), IO),
    "slots": 8,
    "lease_seconds": 300.0,
    "heartbeat_seconds": 5.0,
    "headway_version": "0.1.0",
}
HELD: Final = (Held(dag_id=DAG, run_id=RUN, task_id=LOAD, try_number=1, state="running"),)
CONTEXT: Final = RunContext(
    ds="2026-01-02",
    logical_date=datetime(2026, 1, 2, 2, tzinfo=UTC),
    data_interval_start=datetime(2026, 1, 1, 2, tzinfo=UTC),
    data_interval_end=datetime(2026, 1, 2, 2, tzinfo=UTC),
    params={"region": "EU", "limit": 1000, "rate": 0.5, "full": False, "note": None},
)

MESSAGES: Final[dict[str, Message]] = {
    "task": Task(
        **ATTEMPT,
        fence=1,
        queue=IO,
        command=Argv(args=("sales-load", "--day", "{{ ds }}", "--rows", OutputRef(task_id=EXTRACT, path=("rows", 0)))),
        context=CONTEXT,
        env={"PGHOST": "db1"},
        timeout_seconds=3600.0,
        inputs={EXTRACT: msgspec.Raw(b'{"rows":[42]}')},
    ),
    "task.shell": Task(
        **ATTEMPT | {"task_id": EXTRACT, "map_index": 3},
        fence=2,
        queue=IO,
        command=Shell(script="sales-extract --day $HEADWAY_DS"),
        context=CONTEXT,
        cwd="/srv/sales",
        item=msgspec.Raw(b'{"shop":7}'),
        code=Code(kind="python", ref="sales.tasks:extract", digest="sha256:9f86d081884c7d65"),
        secrets=("warehouse",),
        poll=4,
        success_codes=(0, 3),
    ),
    "task.python": Task(
        **ATTEMPT,
        fence=1,
        queue=IO,
        command=Python(
            function="load",
            args=("2026-01-01",),
            kwargs={"rows": {"kind": "output", "task_id": "extract", "path": ["rows", 0]}, "tables": ["sales"]},
        ),
        context=CONTEXT,
        inputs={EXTRACT: msgspec.Raw(b'{"rows":[42]}')},
        code=Code(kind="file", ref="sales/jobs.py", digest=f"sha256:{'9f86d081884c7d65' * 4}"),
    ),
    "started": Started(**ATTEMPT, **BOOT, seq=17),
    "finished": Finished(
        **ATTEMPT,
        **BOOT,
        seq=18,
        exit_code=0,
        host="db1",
        pid=5150,
        ran_seconds=12.5,
        cpu_seconds=3.25,
        memory_peak_bytes=48234496,
        output=msgspec.Raw(b'{"rows":[42]}'),
        tail="42 rows\n",
    ),
    "finished.signal": Finished(
        **ATTEMPT, **BOOT, seq=18, signal="SIGKILL", oom=True, host="db1", pid=5150, ran_seconds=12.5
    ),
    "finished.not_started": Finished(
        **ATTEMPT, **BOOT, seq=18, reason=EndReason.NOT_STARTED, detail="no such folder: /srv/sales", host="db1"
    ),
    "refused": Refused(**ATTEMPT, **BOOT, seq=18, detail="this worker has no secrets, and the task wants warehouse"),
    "refused.code": Refused(
        **ATTEMPT,
        **BOOT,
        seq=18,
        detail="module sales.jobs is not on this worker: install it for /usr/bin/python3",
    ),
    "online": Online(**BOOT, **SELF, seq=1),
    "heartbeat": Heartbeat(**BOOT, **SELF, seq=19, held=HELD),
    "offline": Offline(**BOOT, seq=20),
    "expired": Expired(**ATTEMPT, queue=IO),
    "rejected": Rejected(**ATTEMPT, queue=IO),
    "delivery_limit": DeliveryLimit(**ATTEMPT, queue=IO),
    "unroutable": Unroutable(**ATTEMPT, queue=IO),
    "task_timer": TaskTimer(dag_id=DAG, run_id=RUN, task_id=LOAD, timer="retry", due=DUE, listening_since=SINCE),
    "run_timer": RunTimer(dag_id=DAG, run_id=RUN, timer="deadline", due=DUE),
    "lease_timer": LeaseTimer(**BOOT, due=DUE, listening_since=SINCE),
    "schedule_timer": ScheduleTimer(dag_id=DAG, due=CONTEXT.logical_date),
    "worker_lost": WorkerLost(**ATTEMPT, **BOOT, detail="worker db1-1 was silent for 310 s"),
    "not_held": NotHeld(**ATTEMPT, **BOOT, detail="worker db1-1 lives and does not hold it"),
    "missing": Missing(**ATTEMPT, publication=1),
    "capacity": Capacity(
        dag_id=DAG, run_id=RUN, queue=IO, instances=(Instance(task_id=LOAD), Instance(task_id=EXTRACT, map_index=3))
    ),
    "run_due": RunDue(
        dag_id=DAG,
        run_id=RUN,
        logical_date=CONTEXT.logical_date,
        data_interval_start=CONTEXT.data_interval_start,
        data_interval_end=CONTEXT.data_interval_end,
        previous=RunId("nightly_sales__2026-01-01T02:00:00Z"),
    ),
    "past_ended": PastEnded(dag_id=DAG, run_id=RUN, task_id=LOAD),
    "backfill_step": BackfillStep(dag_id=DAG, backfill_id=BACKFILL, cursor=CONTEXT.logical_date),
    "run_capacity": RunCapacity(dag_id=DAG, run_id=RUN),
    "continue": Continue(dag_id=DAG, run_id=RUN, step="downstream", cursor=1000, task_id=EXTRACT),
    "trigger": Trigger(dag_id=DAG, run_id=RUN, logical_date=CONTEXT.logical_date, params={"region": "US"}),
    "cancel": Cancel(dag_id=DAG, run_id=RUN, task_id=LOAD),
    "backfill": Backfill(
        dag_id=DAG,
        backfill_id=BACKFILL,
        begin=datetime(2026, 1, 1, tzinfo=UTC),
        end=datetime(2026, 1, 31, tzinfo=UTC),
        max_active=2,
        reprocess="failed",
        params={"region": "US"},
    ),
    "pause": Pause(dag_id=DAG),
    "unpause": Unpause(dag_id=DAG),
    "dag_version": DagVersion(
        dag_id=DAG,
        digest="9f86d081884c7d659a2feaa0c55ad015",
        file="nightly_sales.py",
        task_count=3,
        schedule=Schedule(text="0 2 * * *", timezone="UTC", start=datetime(2026, 1, 1, tzinfo=UTC), catchup=True),
        max_active_runs=2,
    ),
    "grant": Grant(**ATTEMPT, boot=BOOT["boot"], heard=16),
    "drop": Drop(**ATTEMPT, boot=BOOT["boot"], detail="the attempt is withdrawn"),
    "stop": Stop(**ATTEMPT, boot=BOOT["boot"], reason=EndReason.CANCELLED),
    "log_chunk": LogChunk(**ATTEMPT, offset=4096, size=31, data="password ***, 42 rows\n"),
}
