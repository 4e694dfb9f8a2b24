"""What workers say about one attempt: the gate, its end, its loss, and everything that must change nothing."""

from datetime import timedelta

import msgspec
import pytest

from headway.protocol.messages import Drop, Grant, Stop
from headway.protocol.names import BootId, WorkerName
from headway.protocol.states import EndReason
from headway.scheduler.core.rows import BootKey
from world import BOOT, World, running

OTHER = BootKey(WorkerName("x"), BootId("x-1"))


def last_order(world: World):
    """Return what was said last to a worker."""
    return world.orders[-1].order


# --- started ----------------------------------------------------------------------------------------------------------


def test_the_first_who_asks_is_granted():
    """The attempt is held by this boot from now on, and nobody waits for it any more."""
    world = running("a", a={"queued_timeout": 60.0})
    decision = world.tell(world.started("a", seq=41))
    attempt = world.attempt("a")
    assert decision.applied
    assert world.states() == {"a": "running"}
    assert (attempt.worker, attempt.boot, attempt.granted_seq, attempt.started_at) == (*BOOT, 41, world.now)
    assert world.db.timers == {}
    assert isinstance(last_order(world), Grant)
    assert (world.orders[-1].worker, last_order(world).boot, last_order(world).token) == (*BOOT, attempt.token)


def test_a_grant_says_which_heartbeat_was_heard_last():
    """By that the worker knows whether we know of its present lease; so does each repetition."""
    world = running("a")
    for seq in (7, 12):
        world.tell(world.heartbeat(BOOT, "a", seq=seq))
        world.tell(world.started("a", seq=seq + 1))
        assert last_order(world).heard == seq


def test_the_holder_is_granted_again_as_often_as_it_asks():
    """A lost grant is mended by asking again, and that changes nothing."""
    world = running("a")
    world.start("a")
    decision = world.tell(world.started("a"))
    assert (decision.applied, len(world.orders)) == (False, 2)
    assert world.orders[0] == world.orders[1]


def test_any_other_boot_is_told_to_drop():
    """An attempt is granted to one boot, ever."""
    world = running("a")
    world.tell(world.online(OTHER))
    world.start("a")
    decision = world.tell(world.started("a", OTHER))
    assert decision.reason == "the attempt is running"
    assert isinstance(last_order(world), Drop)
    assert world.attempt("a").boot == BOOT.boot


def test_a_later_boot_of_the_same_worker_is_not_the_holder():
    """The name alone is no proof: the boot counts."""
    world = running("a")
    world.start("a")
    asked = world.started("a", BootKey(BOOT.worker, BootId("w-2")))
    assert not world.tell(asked).applied
    assert isinstance(last_order(world), Drop)


@pytest.mark.parametrize("says", ["nothing", "offline", "lease"])
def test_a_boot_that_is_not_online_hears_nothing(says: str):
    """An unknown or lost boot must report first, and will ask again; one that ended can only be followed by another."""
    world = running("a")
    if says == "offline":
        world.tell(world.offline())
    elif says == "lease":
        world.later(1000)
        world.tell(world.lease_due())
    decision = world.tell(world.started("a", OTHER if says == "nothing" else BOOT))
    standing = {"nothing": "unknown", "offline": "ended", "lease": "lost"}[says]
    said = "has ended: nothing is" if says == "offline" else f"is {standing}: it must report first"
    assert said in decision.reason
    assert decision.facts == {"boot": standing}
    assert (world.orders, world.states()) == ([], {"a": "queued"})


def test_an_attempt_that_was_taken_back_is_dropped():
    """A cancelled task is not started, whoever still has its message."""
    world = running("a")
    asked = world.started("a")
    world.tell(world.cancel("a"))
    assert world.tell(asked).reason == "the attempt is withdrawn"
    assert isinstance(last_order(world), Drop)


def test_an_earlier_attempt_is_dropped():
    """The message of the first try is worth nothing while the second one runs."""
    world = running("a", a={"retries": 1})
    asked = world.started("a")
    world.play("a", exit_code=1)
    world.ring("a", "retry")
    assert world.tell(asked).reason == "the attempt is failed"
    assert isinstance(last_order(world), Drop)


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ({"token": "guessed"}, "its token is not the attempt's"),
        ({"task_id": "b"}, "no such attempt"),
        ({"run_id": "run-2"}, "no such attempt"),
        ({"try_number": 2}, "no such attempt"),
        ({"map_index": 0}, "no such attempt"),
        ({"dag_id": "other"}, "run run-1 is not one of DAG other"),
    ],
)
def test_what_names_no_attempt_is_dropped(forged: dict, reason: str):
    """Whoever asks for something that is not there is told so, and nothing changes."""
    world = running("a")
    decision = world.tell(msgspec.structs.replace(world.started("a"), **forged))
    assert decision.reason == reason
    assert last_order(world).detail == reason
    assert world.states() == {"a": "queued"}


# --- finished ---------------------------------------------------------------------------------------------------------


def test_success_is_kept_with_all_that_the_worker_measured():
    """The attempt says for ever what came of it; times are the scheduler's, seconds the worker's."""
    world = running("a")
    world.start("a")
    world.later(7)
    measured = {
        "host": "h",
        "pid": 9,
        "ran_seconds": 6.5,
        "cpu_seconds": 1.5,
        "memory_peak_bytes": 1000,
        "tail": "done",
        "detail": "fine",
    }
    world.tell(world.finished("a", 0, **measured))
    attempt = world.attempt("a")
    assert {name: getattr(attempt, name) for name in measured} == measured
    assert (attempt.state, attempt.exit_code, attempt.finished_at) == ("success", 0, world.now)
    assert attempt.decided_by == world.records[-1][0].ref
    assert (world.states(), world.run_state()) == ({"a": "success"}, "success")


def test_an_output_is_stored_as_it_was_written():
    """JSON in, the same JSON out; a task that wrote nothing has none."""
    world = running("a, b")
    world.start("a")
    world.tell(world.finished("a", output=msgspec.Raw(b'{"rows": [1, "\xc3\xa9"]}')))
    world.start("b")
    world.tell(world.finished("b"))
    assert [(row.task_id, row.value) for row in world.db.outputs.values()] == [("a", '{"rows": [1, "é"]}')]


def test_a_failed_task_has_no_output():
    """What it wrote before it failed is nothing to build on."""
    world = running("a")
    world.start("a")
    world.tell(world.finished("a", 1, output=msgspec.Raw(b"1")))
    assert world.db.outputs == {}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"exit_code": 3}, EndReason.EXIT_CODE),
        ({"exit_code": None}, EndReason.EXIT_CODE),
        ({"exit_code": None, "signal": "SIGSEGV"}, EndReason.SIGNAL),
        ({"exit_code": None, "signal": "SIGKILL", "oom": True}, EndReason.OUT_OF_MEMORY),
        ({"exit_code": None, "signal": "SIGTERM", "reason": EndReason.TIMEOUT}, EndReason.TIMEOUT),
        ({"exit_code": 0, "reason": EndReason.BAD_OUTPUT}, EndReason.BAD_OUTPUT),
    ],
)
def test_a_failure_has_a_reason(said: dict, reason: EndReason):
    """What the worker says of itself comes first, then memory, signal and exit code."""
    world = running("a >> b")
    world.start("a")
    world.tell(world.finished("a", **said, detail="because"))
    assert (world.task("a").reason, world.task("a").detail, world.attempt("a").reason) == (reason, "because", reason)
    assert world.states() == {"a": "failed", "b": "upstream_failed"}
    assert world.run_state() == "failed"


def test_a_retry_waits_for_its_timer():
    """A failure that has a retry left rests until the timer rings, and goes to the back of its queue."""
    world = running("a", a={"retries": 1, "retry_delay": 100.0})
    world.play("a", exit_code=1)
    task = world.task("a")
    assert (task.state, task.retries_used, task.infra_used, task.reason) == ("up_for_retry", 1, 0, "exit_code")
    assert timedelta(seconds=100) <= world.timer("a", "retry").due - world.now <= timedelta(seconds=110)
    world.ring("a", "retry")
    assert world.states() == {"a": "queued"}
    assert world.attempt("a").token != world.attempt("a", try_number=1).token
    world.play("a", exit_code=1)
    assert world.states() == {"a": "failed"}


@pytest.mark.parametrize("reason", [EndReason.LEASE, EndReason.SHUTDOWN])
def test_an_end_that_the_worker_brought_about_spends_no_retry(reason: EndReason):
    """It is run again at once from the infra budget; when that is spent the task fails, with retries left."""
    world = running("a", a={"retries": 3})
    world.start("a")
    world.tell(world.finished("a", None, signal="SIGKILL", reason=reason))
    task = world.task("a")
    assert (task.state, task.try_number, task.retries_used, task.infra_used) == ("queued", 2, 0, 1)
    world.start("a")
    world.tell(world.finished("a", None, signal="SIGKILL", reason=reason))
    assert (world.task("a").state, world.task("a").reason) == ("failed", reason)


def test_only_the_holder_can_finish():
    """Another boot's word about a granted attempt changes nothing."""
    world = running("a")
    world.start("a")
    decision = world.tell(world.finished("a", **OTHER._asdict()))
    assert decision.reason == "the attempt was granted to boot w-1 of worker w"
    assert world.states() == {"a": "running"}


def test_what_was_never_granted_cannot_finish():
    """Nor can what has finished before."""
    world = running("a")
    finished = world.finished("a")
    assert world.tell(finished).reason == "the attempt is queued"
    world.start("a")
    assert world.tell(finished).applied
    assert world.tell(world.finished("a", 1)).reason == "the attempt is success"
    assert world.run_state() == "success"


def test_a_forged_end_changes_nothing():
    """Without the token there is no end."""
    world = running("a")
    world.start("a")
    assert world.tell(world.finished("a", token="guessed")).reason == "its token is not the attempt's"


def test_a_cancelled_child_that_ends_is_cancelled():
    """The worker reports whatever it reports: the intent decides, unless it was a success."""
    world = running("a >> b")
    world.start("a")
    world.tell(world.cancel("a"), user="ann")
    world.tell(world.finished("a", None, signal="SIGTERM", reason=EndReason.CANCELLED))
    assert (world.task("a").reason, world.task("a").detail) == ("cancelled", "cancelled by ann")
    assert (world.attempt("a").state, world.states()) == ("cancelled", {"a": "cancelled", "b": "upstream_failed"})


def test_a_cancelled_child_that_succeeds_has_succeeded():
    """It was done before it heard that it should stop."""
    world = running("a >> b")
    world.start("a")
    world.tell(world.cancel("a"))
    world.tell(world.finished("a"))
    assert world.states() == {"a": "success", "b": "queued"}
    assert world.timer("a", "stop") is None


# --- lost -------------------------------------------------------------------------------------------------------------


def test_a_lost_attempt_is_run_again_once():
    """The default budget allows one rerun; then the task fails as lost."""
    world = running("a", a={"retries": 5})
    world.start("a")
    world.tell(world.worker_lost("a", detail="silent"))
    task = world.task("a")
    assert (task.state, task.try_number, task.infra_used, task.retries_used) == ("queued", 2, 1, 0)
    lost = world.attempt("a", try_number=1)
    assert (lost.state, lost.reason, lost.detail, lost.finished_at) == ("lost", "lost", "silent", world.now)
    world.start("a")
    world.tell(world.not_held("a"))
    assert (world.task("a").state, world.task("a").reason) == ("failed", "lost")


def test_what_may_have_run_is_not_run_again_where_the_author_forbids_it():
    """With on_lost="fail" a lost attempt is the end, whatever budget is left."""
    world = running("a", a={"on_lost": "fail", "infra_retries": 5})
    world.start("a")
    world.tell(world.worker_lost("a"))
    assert world.states() == {"a": "failed"}


def test_a_child_that_is_kept_in_a_partition_is_neither_stopped_nor_run_again():
    """It may be alive where nobody hears it: its loss is the end, whatever on_lost and the budget say."""
    world = running("a", a={"on_partition": "keep", "infra_retries": 5})
    assert world.published[0].message.on_partition == "keep"
    world.start("a")
    world.tell(world.worker_lost("a"))
    assert (world.states(), isinstance(last_order(world), Grant)) == ({"a": "failed"}, True)


def test_a_lost_child_that_was_to_be_cancelled_is_cancelled():
    """Nobody wants it again."""
    world = running("a")
    world.start("a")
    world.tell(world.cancel(), user="ann")
    world.tell(world.worker_lost("a"))
    assert (world.task("a").state, world.task("a").detail) == ("cancelled", "cancelled by ann")
    assert world.attempt("a").state == "lost"
    assert world.run_state() == "cancelled"


@pytest.mark.parametrize("kind", ["worker_lost", "not_held"])
def test_only_the_holders_loss_counts(kind: str):
    """Neither another boot's death, nor one that is heard twice, nor one before the grant."""
    world = running("a")
    say = getattr(world, kind)
    assert world.tell(say("a")).reason == "the attempt is queued"
    world.start("a")
    assert world.tell(say("a", **OTHER._asdict())).reason.startswith("the attempt was granted to boot w-1")
    assert world.tell(say("a", token="guessed")).reason == "its token is not the attempt's"
    lost = say("a")
    assert world.tell(lost).applied
    assert world.tell(lost).reason == "the attempt is lost"


def test_a_boot_that_is_thought_dead_is_told_to_end_the_child():
    """It may hear us, and another may be granted soon; one that lives and does not hold it has nothing to end."""
    world = running("a", a={"infra_retries": 2})
    world.start("a")
    world.tell(world.worker_lost("a"))
    assert isinstance(last_order(world), Stop)
    assert (world.orders[-1].worker, last_order(world).boot, last_order(world).reason) == (*BOOT, "lost")
    world.start("a")
    world.tell(world.not_held("a"))
    assert isinstance(last_order(world), Grant)
    assert world.db.queues["default"].mended == 1


@pytest.mark.parametrize("narrow", [False, True])
def test_a_result_that_comes_after_the_loss_counts(narrow: bool, monkeypatch: pytest.MonkeyPatch):  # noqa: FBT001
    """As long as no other was granted: what was to take its place is withdrawn, and the loss spends nothing."""
    world = running("a >> b", a={"queued_timeout": 60.0})
    world.start("a")
    finished = world.finished("a", output=msgspec.Raw(b"1"))
    if narrow:
        monkeypatch.setattr("headway.scheduler.core.admission.WINDOW_MIN", 0)
        monkeypatch.setattr("headway.scheduler.core.admission.WINDOW_PER_SLOT", 0)
    world.tell(world.worker_lost("a"))
    assert world.states()["a"] == ("scheduled" if narrow else "queued")
    assert world.tell(finished).applied
    assert (world.states()["a"], world.task("a").infra_used, world.task("a").hold) == ("success", 0, None)
    assert [row.value for row in world.db.outputs.values()] == ["1"]
    first = world.attempt("a", try_number=1)
    assert (first.state, first.exit_code, first.decided_by) == ("success", 0, world.records[-1 - (not narrow)][0].ref)
    assert world.timer("a", "queued_timeout") is None
    if not narrow:
        second = world.attempt("a")
        assert (second.state, second.reason) == ("withdrawn", "superseded")
        assert "attempt 1" in second.detail
    assert world.tell(finished).reason == "the attempt is success"


def test_a_withdrawn_successor_is_not_started():
    """Whoever has its message hears that."""
    world = running("a")
    world.start("a")
    finished = world.finished("a")
    world.tell(world.worker_lost("a"))
    asked = world.started("a")
    world.tell(finished)
    assert world.tell(asked).reason == "the attempt is withdrawn"
    assert isinstance(last_order(world), Drop)


def test_a_failure_that_comes_after_the_loss_spends_a_retry():
    """The author's budget, for it is what the task did; the other one gets back what the loss had spent."""
    world = running("a", a={"retries": 1})
    world.start("a")
    failed = world.finished("a", 3)
    world.tell(world.worker_lost("a"))
    world.tell(failed)
    task = world.task("a")
    assert (task.state, task.retries_used, task.infra_used, task.reason) == ("up_for_retry", 1, 0, "exit_code")
    world.ring("a", "retry")
    assert world.task("a").try_number == 3


@pytest.mark.parametrize("reason", [EndReason.LEASE, EndReason.SHUTDOWN, EndReason.LOST])
def test_an_end_of_a_lost_child_that_says_no_more_changes_nothing(reason: EndReason):
    """It is run again already."""
    world = running("a")
    world.start("a")
    ended = world.finished("a", None, signal="SIGKILL", reason=reason)
    world.tell(world.worker_lost("a"))
    assert world.tell(ended).reason == "the attempt is lost, and this says no more"
    assert (world.states(), world.attempt("a").state) == ({"a": "queued"}, "queued")


def test_a_result_that_comes_after_another_grant_is_too_late():
    """Two children have run: the one that was granted last counts."""
    world = running("a")
    world.start("a")
    finished = world.finished("a")
    world.tell(world.worker_lost("a"))
    world.start("a")
    assert world.tell(finished).reason == "the attempt is lost, and attempt 2 was granted since"
    assert world.tell(world.finished("a", try_number=1, **OTHER._asdict())).reason.startswith("the attempt was granted")
    world.tell(world.finished("a", 1))
    assert world.tell(finished).reason == "the attempt is lost, and the task ended as failed before"


def test_a_result_counts_though_its_successor_was_refused():
    """Nobody else was granted."""
    world = running("a", a={"infra_retries": 3})
    world.start("a")
    finished = world.finished("a")
    world.tell(world.worker_lost("a"))
    world.tell(world.refused("a"))
    assert world.task("a").try_number == 3
    assert world.tell(finished).applied
    assert (world.states(), world.task("a").infra_used) == ({"a": "success"}, 1)


def test_a_result_that_comes_after_the_end_is_too_late():
    """A final state is final: with no budget left, the loss was the end."""
    world = running("a", a={"on_lost": "fail"})
    world.start("a")
    finished = world.finished("a")
    world.tell(world.worker_lost("a"))
    assert world.tell(finished).reason == "the attempt is lost, and the task ended as failed before"
    assert world.states() == {"a": "failed"}
