"""What several of these tests need."""

import pytest


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one message be published to a queue, or one for each slot."""
    monkeypatch.setattr("headway.scheduler.core.admission.WINDOW_MIN", 1)
    monkeypatch.setattr("headway.scheduler.core.admission.WINDOW_PER_SLOT", 1)
