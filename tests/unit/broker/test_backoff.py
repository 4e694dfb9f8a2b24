"""How long to wait before the next try."""

from headway.broker.backoff import SECONDS_MAX, SECONDS_MIN, STEADY_SECONDS, Backoff


def longest(backoff: Backoff, count: int) -> list[float]:
    """Return the longest wait that can be drawn at each of the next tries; the draw itself is random."""
    return [backoff.next_seconds(lived_seconds=0.0) for _ in range(count)]


def test_the_first_try_comes_soon_and_the_waits_grow_to_a_limit():
    """Never below a tenth of a second, at most 0.25 s, 0.5 s, 1 s, ... and ten seconds in the end."""
    rows = [longest(Backoff(), 12) for _ in range(200)]
    for number, drawn in enumerate(zip(*rows, strict=True)):
        bound = min(SECONDS_MAX, 0.25 * 2**number)
        assert min(drawn) >= SECONDS_MIN
        assert bound / 2 < max(drawn) <= bound


def test_the_waits_differ():
    """A fleet that lost its broker at the same moment does not come back at the same moment."""
    assert len({Backoff().next_seconds(lived_seconds=0.0) for _ in range(50)}) > 40


def test_a_steady_connection_starts_a_new_row_and_a_short_one_does_not():
    """A broker that throws us out at once is asked more and more rarely."""
    backoff = Backoff()
    longest(backoff, 10)
    assert max(backoff.next_seconds(lived_seconds=STEADY_SECONDS / 2) for _ in range(50)) > 1
    assert backoff.next_seconds(lived_seconds=STEADY_SECONDS) <= 0.25
    assert backoff.next_seconds(lived_seconds=0.0) <= 0.5
