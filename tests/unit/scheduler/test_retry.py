"""How long a failed task rests."""

import pytest

from headway.protocol.dag import Shell, Task
from headway.protocol.names import TaskId, Token
from headway.scheduler.core.retry import retry_delay


def delay(used: int, *, token: str = "token", **fields: float) -> float:
    """Return the delay of a task with these fields."""
    task = Task(task_id=TaskId("a"), command=Shell(script="true"), **fields)
    return retry_delay(task, retries_used=used, token=Token(token))


@pytest.mark.parametrize("used", [0, 1, 7])
def test_a_fixed_delay_is_the_same_each_time(used: int):
    """Lengthened by a tenth at most."""
    assert 60 <= delay(used, retry_delay=60.0) <= 66


@pytest.mark.parametrize(("used", "seconds"), [(0, 10), (1, 20), (2, 40), (3, 50), (400, 50)])
def test_a_growing_delay_grows_to_its_maximum(used: int, seconds: float):
    """Also past what a float can hold."""
    found = delay(used, retry_delay=10.0, retry_backoff=2.0, retry_delay_max=50.0)
    assert seconds <= found <= seconds * 1.1


@pytest.mark.parametrize("used", [1000, 100_000])
def test_an_overflow_is_the_maximum(used: int):
    """100 to the power of 1,000 is no float."""
    assert 50 <= delay(used, retry_delay=1.0, retry_backoff=100.0, retry_delay_max=50.0) <= 55
    assert delay(used, retry_delay=0.0, retry_backoff=100.0, retry_delay_max=50.0) == 0


def test_tasks_that_failed_together_do_not_return_together():
    """The jitter comes from the token, so that an audit finds the same one."""
    delays = [delay(0, token=f"token-{number}", retry_delay=100.0) for number in range(200)]
    assert delays == [delay(0, token=f"token-{number}", retry_delay=100.0) for number in range(200)]
    assert min(delays) < 101
    assert max(delays) > 109
    assert len(set(delays)) == 200
