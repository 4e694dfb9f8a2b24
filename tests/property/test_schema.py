"""The published schema against the code: what the code accepts it accepts, and what is misspelt neither does."""

import json

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from headway.protocol.document import read_document, to_document
from headway.protocol.exit_codes import RETRY_WORDS
from headway.protocol.keywords import TASK_KEYWORDS
from headway.protocol.schema import build_schema
from headway.protocol.validation import validate

SCHEMA = Draft202012Validator(build_schema())

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{\0"), max_size=10)
NAMES = st.text("ab_0", min_size=1, max_size=5).filter(lambda name: not name[0].isdigit())
SECONDS = st.floats(1, 3600) | st.integers(1, 3600) | st.sampled_from(["90s", "10m", "1h30m", "1.5h", "500ms"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
KEYWORDS = {
    "queue": st.sampled_from(["io", "gpu-1"]),
    "priority": st.integers(-1000, 1000),
    "weight_rule": st.sampled_from(["absolute", "downstream", "upstream"]),
    "pool": st.sampled_from(["db", "dwh-1"]),
    "max_active": st.none() | st.integers(1, 9),
    "max_active_per_run": st.none() | st.integers(1, 9),
    "retries": st.integers(0, 1000),
    "retry_delay": SECONDS,
    "retry_backoff": st.floats(1, 100) | st.integers(1, 100),
    "retry_timeout": st.none() | SECONDS,
    "retry_on": st.none() | st.lists(st.integers(0, 255) | st.sampled_from(RETRY_WORDS), max_size=2),
    "exit_codes": st.dictionaries(
        st.integers(0, 255).map(str), st.sampled_from(["success", "fail", "skip", "retry"]), max_size=2
    ).filter(lambda table: "75" not in table),
    "poll_every": st.none() | SECONDS,
    "infra_retries": st.integers(0, 1000),
    "on_lost": st.sampled_from(["retry", "fail"]),
    "on_partition": st.sampled_from(["kill", "keep"]),
    "queued_timeout": st.none() | SECONDS,
    "on_queued_timeout": st.sampled_from(["requeue", "fail"]),
    "timeout": st.none() | SECONDS,
    "over": st.none() | st.lists(JSON, min_size=1, max_size=3),
    "env": st.dictionaries(NAMES, TEXT, max_size=2),
    "cwd": st.none() | st.just("/srv"),
}
WORDS = st.fixed_dictionaries({"retry_delay_max": st.sampled_from([7200, "2h"])}, optional=KEYWORDS)
COMMANDS = st.fixed_dictionaries({"shell": TEXT.filter(str.strip)}) | st.fixed_dictionaries(
    {"argv": st.lists(TEXT.filter(bool), min_size=1, max_size=3)}
)


@st.composite
def documents(draw):
    """Draw a legal DAG as an author writes it."""
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=4))
    tasks = []
    for position, name in enumerate(names):
        before = draw(st.lists(st.sampled_from(names[:position]), unique=True)) if position else []
        task = {"task_id": name, **draw(COMMANDS), **draw(WORDS)}
        if before and "argv" in task:
            task["argv"].append({"output": before[0], **draw(st.sampled_from([{}, {"path": [0, "rows"]}]))})
            task["inputs"] = draw(st.sampled_from([before, []]))
        tasks.append(task | ({"upstream": before} if before else {}))
    head = st.fixed_dictionaries(
        {"dag_id": NAMES, "tasks": st.just(tasks)},
        optional={
            "description": TEXT,
            "owner": TEXT,
            "tags": st.lists(TEXT, max_size=2),
            "params": st.dictionaries(NAMES, st.none() | st.booleans() | st.integers(-9, 9) | TEXT, max_size=2),
            "defaults": WORDS,
        },
    )
    return draw(head)


def accepted(document):
    """Whether the code takes the document."""
    read = read_document(json.dumps(document).encode())
    return read.dag is not None and not validate(read.dag)


def places(document):
    """Return every object of a document whose keys are keywords."""
    args = [arg for task in document["tasks"] for arg in task.get("argv", ()) if isinstance(arg, dict)]
    return [document, *document["tasks"], *args, *([document["defaults"]] if "defaults" in document else [])]


@given(documents())
def test_what_the_code_accepts_validates(document):
    """As its author wrote it, and as we write it."""
    assert accepted(document)
    SCHEMA.validate(document)
    SCHEMA.validate(json.loads(to_document(read_document(json.dumps(document).encode()).dag)))


@given(documents(), st.data())
def test_a_misspelt_key_does_not(document, data):
    """Wherever it stands, neither for the code nor for the schema."""
    place = data.draw(st.sampled_from(places(document)).filter(bool))
    key = data.draw(st.sampled_from(sorted(place)))
    place[f"{key}{data.draw(st.sampled_from('xs_'))}"] = place.pop(key)
    assert not accepted(document)
    assert not SCHEMA.is_valid(document)


@given(documents(), st.sampled_from(["task_id", "upstream", "shell", "argv", *TASK_KEYWORDS]), JSON)
def test_any_value_that_the_code_accepts_validates(document, key, value):
    """Of any keyword of a task."""
    document["tasks"][0][key] = value
    assert not accepted(document) or SCHEMA.is_valid(document)


@given(documents(), st.sampled_from(["retries", "env", "cwd", "queue", "shell", "upstream", "on_lost", "timeout"]))
def test_a_value_of_another_type_does_not(document, key):
    """Nothing that a task says is a list of an object."""
    document["tasks"][0][key] = [{}]
    assert not accepted(document)
    assert not SCHEMA.is_valid(document)
