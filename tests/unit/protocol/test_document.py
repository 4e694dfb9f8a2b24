"""Documents: JSON says the same as Python, faults have lines, and what is written reads back."""

import json

import pytest

from headway import DAG, argv, item, python, shell
from headway.protocol.document import read_document, to_document
from headway.protocol.validation import validate

EXAMPLE = b"""\
{
  "dag_id": "nightly_sales",
  "description": "text",
  "params": {"region": "EU"},
  "defaults": {"retries": 2},
  "tasks": [
    {"task_id": "extract", "shell": "sales-extract", "queue": "io", "timeout": "1h"},

    {"task_id": "load", "argv": ["sales-load", {"output": "extract", "path": ["rows", 0]}, {"output": "extract"}],
     "upstream": ["extract"], "retries": 0}
  ]
}
"""


def faults(body):
    """Return the faults of a document as text."""
    document = read_document(body)
    assert document.dag is None
    return [(fault.line, fault.message) for fault in document.faults]


def one_task(text):
    """Return a document with this task on line 3."""
    return f'{{"dag_id": "d", "tasks": [\n\n{text}]}}'.encode()


def test_a_document_says_what_python_says():
    """The values are equal, so their digests are."""
    with DAG("nightly_sales", description="text", params={"region": "EU"}, defaults={"retries": 2}) as dag:
        extract = shell("extract", "sales-extract", queue="io", timeout="1h")
        argv("load", ["sales-load", extract.output["rows"][0], extract.output], retries=0)
    document = read_document(EXAMPLE)
    assert document.dag == dag.build()[0]
    assert document.lines == {"extract": 7, "load": 9}
    assert document.faults == ()
    assert validate(document.dag) == ()


MAPPED = b"""\
{
  "dag_id": "d",
  "tasks": [
    {"task_id": "a", "shell": "x"},
    {"task_id": "b", "argv": ["x", {"item": []}, {"item": ["name"]}], "over": {"output": "a", "path": ["parts"]},
     "upstream": ["a"]},
    {"task_id": "c", "python": "jobs.py:f", "args": [{"rows": {"item": ["rows"]}, "item": 1}, {"item": 2}],
     "over": [1, {"rows": null}], "upstream": ["b"]}
  ]
}
"""


def test_a_mapped_task_is_written_the_same_way():
    """Over a list or an output; its item stands among the arguments."""
    with DAG("d") as dag:
        a = shell("a", "x")
        b = argv("b", ["x", item, item["name"]], over=a.output["parts"])
        b >> python("c", "jobs.py:f", args=[{"rows": item["rows"], "item": 1}, {"item": 2}], over=[1, {"rows": None}])
    document = read_document(MAPPED)
    assert document.dag == dag.build()[0]
    assert validate(document.dag) == ()
    assert read_document(to_document(document.dag)).dag == document.dag


def test_a_document_reads_back():
    """Defaults are applied, and only what differs from Headway's own is written."""
    dag = read_document(EXAMPLE).dag
    assert read_document(to_document(dag)).dag == dag
    assert json.loads(to_document(dag))["tasks"][0] == {
        "task_id": "extract",
        "shell": "sales-extract",
        "queue": "io",
        "retries": 2,
        "timeout": "1h",
    }


def test_a_duration_that_has_no_text_stays_a_number():
    """Nothing is lost to rounding."""
    dag = read_document(one_task('{"task_id": "a", "shell": "x", "timeout": 0.12345678901}')).dag
    assert b'"timeout": 0.12345678901' in to_document(dag)
    assert read_document(to_document(dag)).dag == dag


def test_equal_tasks_have_lines_of_their_own():
    """Each is looked for behind the one before."""
    document = read_document(
        b'{"dag_id": "d", "tasks": [\n{"task_id": "a", "shell": "x"},\n{"task_id": "a", "shell": "x"}]}'
    )
    assert document.lines == {"a": 3}


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        (b"", 1, "not JSON: Expecting value (column 1)"),
        (b'{"dag_id": "d",\n\n"tasks": [}', 3, "not JSON: Expecting value (column 11)"),
        (b'{"dag_id": "d",\n"owner": "\xff"}', 2, "not UTF-8: invalid start byte"),
        (b'{"dag_id": "d", "params": {"p": NaN}, "tasks": []}', 1, "not JSON that can be read: NaN is not JSON"),
        (b"[" * 100_000, 1, "not JSON that can be read: maximum recursion depth"),
        (b'{"dag_id": ' + b"1" * 5_000 + b"}", 1, "not JSON that can be read: Exceeds the limit"),
        (b"[]", 1, "not a DAG: write"),
        (b'{"dag_id": "d"}', 1, "not a DAG: write"),
        (b'{"dag_id": "d", "tasks": {}}', 1, "not a DAG: write"),
        (b'{"dag_id": "d", "dag_id": "e", "tasks": []}', 1, "key 'dag_id' stands twice in one object: remove one"),
        (b'{"tasks": []}', 1, "the document has no 'dag_id'"),
        (b'{"dag_id": "d", "task": [], "tasks": []}', 1, "DAG 'd': there is no keyword 'task' (did you mean 'tasks'?)"),
        (b'{"dag_id": "d", "defaults": [], "tasks": []}', 1, 'defaults: write {"keyword": value}'),
        (b'{"dag_id": "d", "defaults": {"retry": 1}, "tasks": []}', 1, "defaults: there is no keyword 'retry'"),
        (b'{"dag_id": "d", "tags": "a", "tasks": []}', 1, "DAG 'd': tags: expected a list, got text"),
        (one_task("1"), 3, '1 is no task: write {"task_id": ..., "shell": ...}'),
        (one_task('{"shell": "x"}'), 3, "a task has no 'task_id'"),
        (one_task('{"task_id": "a", "python": "m"}'), 3, "task 'a': 'm' names no function: write"),
        (one_task('{"task_id": "a", "python": "m:f", "args": 1}'), 3, "task 'a': args: expected a list, got a whole"),
        (
            one_task('{"task_id": "a", "python": "m:f", "args": [{"output": 1}]}'),
            3,
            "among its arguments: task_id: exp",
        ),
        (one_task('{"task_id": "a", "shell": "x", "kwargs": {}}'), 3, "task 'a': 'kwargs' are for a \"python\" task"),
        (one_task('{"task_id": "a"}'), 3, "task 'a': say one of \"shell\""),
        (one_task('{"task_id": "a", "shell": "x", "argv": []}'), 3, "task 'a': say one of \"shell\""),
        (one_task('{"task_id": "a", "shel": "x"}'), 3, "task 'a': there is no keyword 'shel' (did you mean 'shell'?)"),
        (one_task('{"task_id": "a", "shell": "x",\n "env": {"A": "", "A": ""}}'), 3, "key 'A' stands twice"),
        (one_task('{"task_id": "a", "shell": 1}'), 3, "task 'a': script: expected text, got a whole number"),
        (one_task('{"task_id": "a", "argv": "x"}'), 3, "task 'a': args: expected a list, got text"),
        (one_task('{"task_id": "a", "argv": [1]}'), 3, "task 'a': args[0]: expected text or an output"),
        (one_task('{"task_id": "a", "argv": [{"outptu": "b"}]}'), 3, "an argument: there is no keyword 'outptu'"),
        (one_task('{"task_id": "a", "argv": [{"path": []}]}'), 3, "task 'a': an argument has no 'output'"),
        (one_task('{"task_id": "a", "argv": [{"output": 1}]}'), 3, "task 'a': args[0].task_id: expected text"),
        (one_task('{"task_id": "a", "shell": "x", "upstream": "b"}'), 3, "task 'a': upstream: expected a list"),
        (one_task('{"task_id": "a", "shell": "x", "timeout": "1w"}'), 3, "task 'a': timeout: '1w' is not a duration"),
    ],
)
def test_a_fault_has_its_line(body, line, message):
    """Whatever the bytes are, there is a sentence and a place."""
    ((found_line, found),) = faults(body)
    assert found_line == line
    assert message in found


def test_all_faults_are_told_at_once():
    """That of the head and that of each task."""
    body = (
        b'{"dag_id": 1, "tasks": [\n{"task_id": "a"},\n{"task_id": "b", "shell": "x"},\n{"task_id": "c", "shell": 1}]}'
    )
    assert [line for line, _ in faults(body)] == [1, 2, 4]


def test_a_call_in_a_document_is_the_same_call():
    """Outputs stand anywhere in its arguments; what only looks like one a little is as it is written."""
    text = """{"dag_id": "d", "tasks": [
      {"task_id": "a", "shell": "x"},
      {"task_id": "b", "python": "shop.jobs:report", "args": [{"rows": [{"output": "a", "path": ["n", 0]}]}, 1],
       "kwargs": {"all": {"output": "a"}, "to": {"output": "x", "as": "csv"}}, "upstream": ["a"]},
      {"task_id": "c", "python": "jobs.py:report"}]}"""
    with DAG("d") as dag:
        a = shell("a", "x")
        kwargs = {"all": a.output, "to": {"output": "x", "as": "csv"}}
        python("b", "shop.jobs:report", args=[{"rows": [a.output["n"][0]]}, 1], kwargs=kwargs)
        python("c", "jobs.py:report")
    document = read_document(text.encode())
    assert document.faults == ()
    assert document.dag == dag.build()[0]
    assert read_document(to_document(document.dag)).dag == document.dag
    assert validate(document.dag) == ()
