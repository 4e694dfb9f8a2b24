"""The audit of what tests leave in their databases, so that every test asks what `headway audit` asks (P1).

A test that changes rows by itself, or asks for what no run has, says so with `@pytest.mark.tampers`.
"""

from headway.protocol.errors import SchemaNotCurrent
from headway.scheduler.audit import audit_runs
from headway.scheduler.store.engine import make_engine
from headway.scheduler.store.schema import check_schema


def assert_audited(url: str) -> None:
    """Fold and decide again all that a database holds; one without a schema of today holds nothing of ours."""
    engine = make_engine(url)
    try:
        check_schema(engine)
        found = list(audit_runs(engine))
    except SchemaNotCurrent:
        return
    finally:
        engine.dispose()
    assert found == [], f"the record and the state of {engine.url.database} differ"
