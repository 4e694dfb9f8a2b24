"""Properties of the protocol: what is written reads back, for every value that hypothesis can think of."""

import math
from contextlib import suppress
from datetime import timedelta, timezone
from typing import get_args

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from yaml.reader import Reader

from headway.protocol.codec import decode_dag, decode_event, decode_order, decode_task, encode
from headway.protocol.dag import Argv, Code, Dag, ExitOutcome, ItemRef, OutputRef, Python, Shell, Task
from headway.protocol.document import read_document, to_document
from headway.protocol.durations import format_duration, parse_duration
from headway.protocol.errors import InvalidDuration, MalformedMessage
from headway.protocol.exit_codes import RETRY_WORDS
from headway.protocol.graph import find_cycles, missing_paths, order_tasks
from headway.protocol.limits import DURATION_SECONDS_MAX
from headway.protocol.messages import Finished, Started, Trigger
from headway.protocol.placeholders import fill_in, names_in
from headway.protocol.validation import validate
from headway.protocol.yaml_document import read_yaml_document

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = st.text("abcdefgh_.-0", min_size=1, max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | TEXT
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
SECONDS = st.floats(0, DURATION_SECONDS_MAX)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
OUTPUTS = st.builds(OutputRef, task_id=IDS, path=st.lists(TEXT | st.integers(0, 9), max_size=3).map(tuple))
ITEMS = st.builds(ItemRef, path=st.lists(TEXT | st.integers(0, 9), max_size=3).map(tuple))
COMMANDS = st.builds(Shell, script=TEXT) | st.builds(Argv, args=st.lists(TEXT | OUTPUTS | ITEMS, max_size=4).map(tuple))
TASKS = st.builds(
    Task,
    task_id=IDS,
    command=COMMANDS,
    upstream=st.lists(IDS, max_size=3).map(tuple),
    queue=IDS,
    priority=st.integers(-1000, 1000),
    weight_rule=st.sampled_from(["absolute", "downstream", "upstream"]),
    pool=st.none() | IDS,
    pool_slots=st.integers(1, 9),
    max_active=st.none() | st.integers(1, 9),
    max_active_per_run=st.none() | st.integers(1, 9),
    retries=st.integers(0, 1000),
    retry_delay=SECONDS,
    retry_backoff=st.floats(1, 100),
    retry_delay_max=SECONDS,
    retry_timeout=st.none() | SECONDS,
    retry_on=st.none() | st.lists(st.integers(0, 255) | st.sampled_from(RETRY_WORDS), max_size=3).map(tuple),
    exit_codes=st.dictionaries(st.integers(0, 255), st.sampled_from(get_args(ExitOutcome)), max_size=3),
    poll_every=st.none() | SECONDS,
    poll_timeout=st.none() | SECONDS,
    infra_retries=st.integers(0, 1000),
    on_lost=st.sampled_from(["retry", "fail"]),
    on_partition=st.sampled_from(["kill", "keep"]),
    queued_timeout=st.none() | SECONDS,
    on_queued_timeout=st.sampled_from(["requeue", "fail"]),
    timeout=st.none() | SECONDS,
    env=st.dictionaries(IDS, TEXT, max_size=3),
    cwd=st.none() | TEXT,
    inputs=st.lists(IDS, max_size=3).map(tuple),
    over=st.none() | OUTPUTS | st.lists(st.none() | TEXT | st.integers(0, 9), max_size=3).map(tuple),
)
ARGUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**63, 2**63 - 1)
    | FLOATS
    | TEXT
    | OUTPUTS.map(msgspec.json.encode).map(msgspec.json.decode),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
CALLS = st.builds(
    Python,
    function=st.sampled_from("fgh"),
    args=st.lists(ARGUMENTS, max_size=3).map(tuple),
    kwargs=st.dictionaries(TEXT, ARGUMENTS, max_size=3),
)
CODES = st.sampled_from([Code(kind="file", ref="../a b.py"), Code(kind="module", ref="shop.jobs")])
TASKS |= st.builds(lambda task, call, code: msgspec.structs.replace(task, command=call, code=code), TASKS, CALLS, CODES)
DAGS = st.builds(
    Dag,
    dag_id=IDS,
    tasks=st.lists(TASKS, max_size=4).map(tuple),
    description=TEXT,
    owner=TEXT,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    params=st.dictionaries(IDS, SCALARS, max_size=3),
)
GRAPHS = st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), unique=True), max_size=10).map(
    lambda edges: {task: tuple(source for source in sources if source in edges) for task, sources in edges.items()}
)
ATTEMPT = {"dag_id": TEXT, "run_id": TEXT, "task_id": TEXT, "token": TEXT, "try_number": st.integers(1, 1000)}
BOOT = {"worker": TEXT, "boot": TEXT, "seq": st.integers(0, 2**63 - 1)}
EVENTS = (
    st.builds(Started, **ATTEMPT, **BOOT)
    | st.builds(
        Finished,
        **ATTEMPT,
        **BOOT,
        output=st.none() | JSON.filter(lambda value: value is not None).map(msgspec.json.encode).map(msgspec.Raw),
        tail=TEXT,
    )
    | st.builds(
        Trigger,
        dag_id=TEXT,
        run_id=TEXT,
        logical_date=st.datetimes(timezones=OFFSETS),
        params=st.dictionaries(TEXT, SCALARS),
    )
)


@given(SECONDS)
def test_a_duration_reads_back_to_the_microsecond(seconds):
    """Whatever its size."""
    text = format_duration(seconds)
    assert math.isclose(parse_duration(text), seconds, rel_tol=1e-12, abs_tol=1e-6)


@given(st.text("0123456789.dhms -+e", max_size=8) | st.floats() | st.integers())
def test_a_duration_is_seconds_within_bounds_or_refused(value):
    """Nothing else comes out, whatever is written."""
    try:
        seconds = parse_duration(value)
    except InvalidDuration:
        return
    assert 0 <= seconds <= DURATION_SECONDS_MAX


@given(DAGS)
def test_a_dag_reads_back(dag):
    """Its encoded form is canonical: encoding what was read gives the same bytes, so the same digest."""
    body = encode(dag)
    assert decode_dag(body) == dag
    assert encode(decode_dag(body)) == body


@given(DAGS)
def test_a_document_reads_back(dag):
    """`to_document` and `read_document` are inverses, legal or not, and each task has its line."""
    document = read_document(to_document(dag))
    assert document.faults == ()
    assert document.dag == dag
    assert set(document.lines) == {task.task_id for task in dag.tasks}


@given(DAGS)
def test_json_reads_as_yaml(dag):
    """And is the same value, but for characters that YAML does not take raw or takes as ends of lines."""
    document = to_document(dag)
    assume(not Reader.NON_PRINTABLE.search(document.decode()))
    assume(not set("\x85\u2028\u2029") & set(document.decode()))
    assert read_yaml_document(document) == read_document(document)


@given(DAGS)
def test_validation_says_something_or_nothing_of_every_dag(dag):
    """It raises nothing, and what it says is text about known tasks."""
    for problem in validate(dag):
        assert problem.message
        assert problem.task_id is None or problem.task_id in {task.task_id for task in dag.tasks}


@given(EVENTS)
def test_an_event_reads_back(event):
    """Every field, and times with their offset."""
    assert decode_event(encode(event)) == event


@pytest.mark.parametrize("read", [decode_event, decode_order, decode_task, decode_dag])
@given(body=st.binary(max_size=200) | JSON.map(msgspec.json.encode))
def test_any_bytes_are_a_message_or_malformed(read, body):
    """A reader raises nothing else."""
    with suppress(MalformedMessage):
        assert read(body)


@pytest.mark.parametrize("read", [read_document, read_yaml_document])
@given(
    body=st.binary(max_size=200)
    | JSON.map(msgspec.json.encode)
    | st.text("a:-[]{}&*!|>'\"#%, \n\t0", max_size=40).map(lambda text: f"dag_id: d\ntasks:\n{text}".encode())
)
def test_any_bytes_are_a_document_or_have_a_fault_with_a_line(read, body):
    """An author's file is never a traceback."""
    document = read(body)
    assert (document.dag is None) == bool(document.faults)
    assert all(1 <= fault.line <= body.count(b"\n") + 1 and fault.message for fault in document.faults)


@given(GRAPHS)
def test_order_and_cycles_share_all_tasks(graph):
    """Each task comes after all it waits for; where some have no order, there is a cycle, and it is one."""
    order = order_tasks(graph)
    assert all(order.index(source) < order.index(task) for task in order for source in graph[task])
    cycles = list(find_cycles(graph))
    assert bool(cycles) == (len(order) < len(graph))
    for cycle in cycles:
        assert all(before in graph[task] for before, task in zip(cycle, (*cycle[1:], cycle[0]), strict=True))


@given(GRAPHS)
def test_missing_paths_are_those_that_a_search_does_not_find(graph):
    """Against the plain way, in every graph without a cycle."""
    order = order_tasks(graph)
    acyclic = {task: graph[task] for task in order}
    above = {}
    for task in order:
        above[task] = set(graph[task]).union(*(above[source] for source in graph[task]))
    pairs = [(task, source) for task in order for source in order]
    assert list(missing_paths(acyclic, pairs)) == [
        (task, source) for task, source in pairs if source not in above[task]
    ]


@given(st.text("{} adsx|", max_size=20), st.text("{} ads", max_size=5))
def test_filling_in_leaves_no_placeholder_of_the_text(text, value):
    """All names are replaced at once; a text with as many as it opens has none left over."""
    names = names_in(text)
    filled = fill_in(text, dict.fromkeys(names, "VALUE"))
    assert filled.count("VALUE") == len(names)
    assert not names_in(filled) or text.count("{{") > len(names)
    assert fill_in("{{ a }}", {"a": value}) == value
