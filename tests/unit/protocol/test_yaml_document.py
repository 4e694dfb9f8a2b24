"""YAML documents: the value that JSON gives, what a word means, the line of each fault, and no trap of YAML 1.1."""

import pytest

from headway.protocol import yaml_document
from headway.protocol.document import read_document
from headway.protocol.yaml_document import read_yaml_document

EXAMPLE = b"""\
# A comment.
dag_id: nightly_sales
params:
  region: EU
defaults: {retries: 2}
tasks:
  - task_id: extract
    shell: |
      sales-extract
      echo done
    timeout: 1h

  - {task_id: load, argv: [sales-load, {output: extract, path: [rows, 0]}], upstream: [extract]}
"""
JSON = b"""\
{"dag_id": "nightly_sales", "params": {"region": "EU"}, "defaults": {"retries": 2}, "tasks": [
  {"task_id": "extract", "shell": "sales-extract\\necho done\\n", "timeout": "1h"},
  {"task_id": "load", "argv": ["sales-load", {"output": "extract", "path": ["rows", 0]}], "upstream": ["extract"]}]}
"""


def param(text):
    """Return what a parameter is that is written like this."""
    document = read_yaml_document(f"dag_id: d\nparams:\n  p: {text}\ntasks: []\n".encode())
    assert document.faults == ()
    return document.dag.params["p"]


def fault(text):
    """Return line and message of a document's only fault."""
    document = read_yaml_document(text.encode() if isinstance(text, str) else text)
    assert document.dag is None
    ((line, message),) = [(fault.line, fault.message) for fault in document.faults]
    return line, message


def test_a_document_says_what_json_says():
    """The values are equal, so their digests are; tasks have the lines that they begin on."""
    document = read_yaml_document(EXAMPLE)
    assert document.faults == ()
    assert document.dag == read_document(JSON).dag
    assert document.lines == {"extract": 7, "load": 13}


def test_json_is_yaml():
    """The same bytes may bear either name."""
    assert read_yaml_document(JSON).dag == read_document(JSON).dag


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "on",
        "True",
        "NULL",
        "08:30",
        "1:30:00",
        "2026-01-31",
        "007",
        "0x1F",
        "1_000",
        "+1",
        ".5",
        "1.",
        ".inf",
        "=",
    ],
)
def test_a_word_stays_what_was_written(text):
    """What YAML 1.1 makes truth, times and octals of is text, with nothing lost."""
    assert param(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-1", -1),
        ("1.50", 1.5),
        ("1e3", 1000.0),
        ("'true'", "true"),
        ('"12"', "12"),
        ("'~'", "~"),
        (">\n    a\n    b", "a b\n"),
    ],
)
def test_a_word_that_json_knows_is_what_json_says(text, value):
    """Quotes make text of anything."""
    assert param(text) == value
    assert type(param(text)) is type(value)


def test_an_anchor_is_used_again():
    """For a value, and for a whole task, whose double is for validation to find."""
    document = read_yaml_document(
        b"dag_id: d\ntasks:\n- task_id: a\n  shell: x\n  env: &env {A: b}\n- task_id: b\n  shell: x\n  env: *env\n"
        b"- &c {task_id: c, shell: x}\n- *c\n"
    )
    assert document.faults == ()
    assert [task.env for task in document.dag.tasks] == [{"A": "b"}, {"A": "b"}, {}, {}]
    assert document.lines == {"a": 3, "b": 6, "c": 10}


def test_nested_aliases_are_no_bomb(monkeypatch):
    """Nine to the ninth values take no time to refuse, and what is just allowed is read."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
    )
    line, message = fault(bomb)
    assert line == 7
    assert message == "the aliases stand for more than 1000000 values: write fewer"
    few = b"dag_id: d\nparams: {}\ntags: &t [a]\ntasks:\n- {task_id: a, shell: x, upstream: *t, inputs: *t}\n"
    monkeypatch.setattr(yaml_document, "ALIASED_VALUES_MAX", 4)
    assert read_yaml_document(few).faults == ()
    monkeypatch.setattr(yaml_document, "ALIASED_VALUES_MAX", 3)
    assert read_yaml_document(few).dag is None


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "not a DAG: write"),
        ("# nothing\n", 1, "not a DAG: write"),
        ("- a\n", 1, "not a DAG: write"),
        ("dag_id: d\n", 1, "not a DAG: write"),
        ("dag_id: d\ntasks: {}\n", 2, "not a DAG: write"),
        ("dag_id: d\ntags: &t [a]\ntasks: *t\n", 3, "not a DAG: write"),
        ("dag_id: d\ntasks: []\n---\ndag_id: e\n", 3, "a second document begins here"),
        (b"dag_id: d\nowner: \xff\n", 2, "not UTF-8: invalid start byte"),
        ("dag_id: d\nowner: \x01\n", 2, "not YAML: character 1 may not stand in it"),
        ("dag_id: d\n\towner: e\n", 2, "(column 1): a tab, indent by spaces"),
        ("dag_id: d: e\n", 1, "not YAML: mapping values are not allowed in this context (column 10)"),
        ("dag_id: d\nowner: 'me\ntasks: []\n", 4, "a quoted scalar (begun on line 2): found unexpected end of stream"),
        ("dag_id: d\nparams: " + "[" * 600 + "]" * 600, 1, "not YAML that can be read: maximum recursion depth"),
        ("dag_id: d\nparams: " + "[" * 2000, 2, "exceeded maximum nesting depth"),
        ("dag_id: d\nparams: {a: " + "1" * 5000 + "}", 1, "not YAML that can be read: Exceeds the limit"),
        ("dag_id: d\ndag_id: e\n", 2, "key 'dag_id' stands twice in one object: remove one"),
        ("dag_id: d\nparams:\n  a: 1\n  a: 2\n", 4, "key 'a' stands twice"),
        ("dag_id: d\nparams:\n  8080: x\n", 3, "key '8080' is no text: put it in quotes"),
        ("dag_id: d\nparams:\n  [a]: x\n", 3, "a key is no text"),
        ("dag_id: d\nparams:\n  <<: {a: 1}\n", 3, "merge keys (<<) are not read"),
        ("dag_id: d\nowner: !!str 1\n", 2, "tag 'tag:yaml.org,2002:str' is not read"),
        ("dag_id: d\nowner: !!python/object/apply:os.system [x]\n", 2, "tag 'tag:yaml.org,2002:python/object"),
        ("dag_id: d\ntasks: !!set {a}\n", 2, "tag 'tag:yaml.org,2002:set' is not read"),
        ("dag_id: d\ntasks: !x []\n", 2, "tag '!x' is not read"),
        ("dag_id: d\nowner: *me\n", 2, "alias *me stands for nothing that has ended before it"),
        ("dag_id: d\nparams: &p {a: *p}\n", 2, "alias *p stands for nothing that has ended before it"),
        ("dag_id: d\nowners: me\ntasks: []\n", 2, "there is no keyword 'owners' (did you mean 'owner'?)"),
        ("dag_id: d\n\ntags: a\ntasks: []\n", 3, "DAG 'd': tags: expected a list, got text"),
        ("dag_id: d\ndefaults:\n  queue: io\n  retry: 1\ntasks: []\n", 4, "defaults: there is no keyword 'retry'"),
        ("dag_id: d\ntasks:\n- 1\n", 3, "1 is no task"),
        ("dag_id: d\ntasks:\n- shell: x\n", 3, "a task has no 'task_id'"),
        ("dag_id: d\ntasks:\n- task_id: a\n  shel: x\n", 4, "task 'a': there is no keyword 'shel'"),
        ("dag_id: d\ntasks:\n- task_id: a\n  shell: x\n  retries: yes\n", 5, "retries: expected a whole number"),
        ("dag_id: d\ntasks:\n- task_id: a\n  shell: x\n  timeout: 08:30\n", 5, "timeout: '08:30' is not a duration"),
        ("dag_id: d\ntasks:\n- task_id: a\n  shell: x\n  on_lost: no\n", 5, "on_lost: 'no' is none of"),
        ("dag_id: d\ntasks:\n- task_id: a\n  argv: [a, 1.10]\n", 3, "args[1]: expected text or an output"),
    ],
)
def test_a_fault_has_its_line(text, line, message):
    """That of the key, where it is about one."""
    found, told = fault(text)
    assert message in told
    assert found == line


def test_all_faults_of_tasks_are_told_at_once():
    """And that of the head beside them."""
    text = b"dag_id: d\nowner: 1\ntasks:\n- task_id: a\n- task_id: b\n  shell: x\n- task_id: c\n  shell: 1\n"
    assert [fault.line for fault in read_yaml_document(text).faults] == [2, 4, 7]
