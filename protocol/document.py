"""A DAG as a JSON document (`*.dag.json`): the author's keywords, and the same value as any other form.

How the same document is written as YAML, `yaml_document.py` says.

    {"dag_id": "nightly_sales",
     "defaults": {"retries": 2},
     "tasks": [
       {"task_id": "extract", "shell": "sales-extract --day $HEADWAY_DS", "queue": "io", "timeout": "1h"},
       {"task_id": "load", "argv": ["sales-load", {"output": "extract", "path": ["rows"]}], "upstream": ["extract"]}]}

Dependencies stand in `upstream` and nowhere else: here an output does not imply one, and validation asks for it.
`read_document` says all that is wrong with its line; `to_document` is its inverse.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, NoReturn, assert_never, cast

import msgspec

from .calls import read_call
from .dag import Argv, Dag, ItemRef, OutputRef, Python, Shell, Task, fill_in_refs
from .durations import format_duration, parse_duration
from .errors import InvalidDag
from .keywords import (
    DAG_KEYWORDS,
    DURATIONS,
    TASK_KEYWORDS,
    check_defaults,
    make_dag,
    make_task,
    refuse_unknown,
)
from .names import DagId, TaskId

_COMMAND_WORDS: Final = ("shell", "argv", "python")
_TASK_WORDS: Final = ("task_id", *_COMMAND_WORDS, "args", "kwargs", "upstream", *TASK_KEYWORDS)
_DAG_WORDS: Final = ("dag_id", *DAG_KEYWORDS, "tasks")

NO_DAG: Final = 'not a DAG: write {"dag_id": ..., "tasks": [...]}'
"""What a document is told that is something else altogether."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a document, in one sentence, and the line it is about."""

    line: int
    message: str


class Document(msgspec.Struct, frozen=True):
    """What a document says: the DAG (None if some of it cannot be read), the lines of its tasks, and all faults."""

    dag: Dag | None
    lines: dict[TaskId, int]
    faults: tuple[Fault, ...]


class Entry(msgspec.Struct, frozen=True):
    """One element of `tasks`: where it stands, its text (of JSON), and the lines of its keys (of YAML)."""

    line: int
    text: str = ""
    keys: dict[str, int] = {}


class _Tasks(msgspec.Struct):
    tasks: list[msgspec.Raw]


def read_document(body: bytes) -> Document:
    """Read a document, whatever it holds. Whether the DAG makes sense is for `validate` to say."""
    try:
        text = body.decode()
        content, doubles = _load(text)
        entries = list(_entries(body))
    except UnicodeDecodeError as error:
        return unreadable(body.count(b"\n", 0, error.start) + 1, f"not UTF-8: {error.reason}")
    except json.JSONDecodeError as error:
        return unreadable(error.lineno, f"not JSON: {error.msg} (column {error.colno})")
    except msgspec.ValidationError:
        return unreadable(1, NO_DAG)
    except (ValueError, RecursionError) as error:
        return unreadable(1, f"not JSON that can be read: {error}")
    if doubles:
        return Document(None, {}, tuple(_locate_doubles(entries, doubles)))
    return build_document(cast("dict[str, object]", content), entries, {})


def to_document(dag: Dag) -> bytes:
    """Write a DAG as a document that `read_document` makes the same DAG of; each task takes one line."""
    head: dict[str, object] = {"dag_id": dag.dag_id, **_differences(dag, Dag(dag_id=DagId(""), tasks=()), DAG_KEYWORDS)}
    lines = [f"  {_dump(key)}: {_dump(value)},\n" for key, value in head.items()]
    tasks = ",\n".join(f"    {_dump(_plain_task(task))}" for task in dag.tasks)
    return f'{{\n{"".join(lines)}  "tasks": [\n{tasks}\n  ]\n}}\n'.encode()


# --- reading ----------------------------------------------------------------------------------------------------------


def unreadable(line: int, message: str) -> Document:
    """Return a document with one fault and nothing else."""
    return Document(None, {}, (Fault(line, message),))


def _load(text: str) -> tuple[object, list[str]]:
    """Return what the JSON says, and keys that an object holds twice; JSON leaves open which of the two would count."""
    doubles: list[str] = []

    def as_dict(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            doubles.extend(key for key in found if keys.count(key) > 1)
        return found

    return json.loads(text, object_pairs_hook=as_dict, parse_constant=_refuse_constant), doubles


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _entries(body: bytes) -> Iterator[Entry]:
    """Yield the elements of `tasks` with their lines; each starts behind the end of the one before it."""
    start, line = 0, 1
    for raw in msgspec.json.decode(body, type=_Tasks).tasks:
        element = bytes(raw)
        found = body.index(element, start)
        line += body.count(b"\n", start, found)
        yield Entry(line, element.decode())
        start, line = found + len(element), line + element.count(b"\n")


def _locate_doubles(entries: list[Entry], doubles: list[str]) -> Iterator[Fault]:
    within = [Fault(entry.line, say_double(key)) for entry in entries for key in _load(entry.text)[1]]
    yield from within or [Fault(1, say_double(key)) for key in doubles]


def say_double(key: str) -> str:
    """Say that a key stands twice."""
    return f"key {key!r} stands twice in one object: remove one"


def build_document(content: Mapping[str, object], entries: list[Entry], keys: Mapping[str, int]) -> Document:
    """Return what plain values say, whose `tasks` are a list with these entries; `keys` are the lines of the head's."""
    faults: list[Fault] = []
    head = Dag(dag_id=DagId(""), tasks=())
    defaults: Mapping[str, object] = {}
    try:
        head, defaults = _read_head(content)
    except InvalidDag as error:
        faults.append(_locate(error, keys, 1))
    tasks: list[Task] = []
    lines: dict[TaskId, int] = {}
    for entry, given in zip(entries, cast("list[object]", content["tasks"]), strict=True):
        try:
            task = _read_task(given, defaults)
        except InvalidDag as error:
            faults.append(_locate(error, entry.keys, entry.line))
        else:
            tasks.append(task)
            lines[task.task_id] = entry.line
    dag = msgspec.structs.replace(head, tasks=tuple(tasks)) if not faults else None
    return Document(dag, lines, tuple(faults))


def _locate(error: InvalidDag, keys: Mapping[str, int], line: int) -> Fault:
    """Return the fault at the line of the keyword that it is about, where both are known."""
    return Fault(keys.get(str(error.fields.get("word")), line), str(error))


def _read_head(content: Mapping[str, object]) -> tuple[Dag, Mapping[str, object]]:
    dag_id = _need(content, "dag_id", "the document")
    refuse_unknown(content, _DAG_WORDS, f"DAG {dag_id!r}")
    defaults = content.get("defaults", {})
    if not isinstance(defaults, dict):
        raise InvalidDag(detail='defaults: write {"keyword": value}')
    check_defaults(defaults)
    head = {word: value for word, value in content.items() if word not in {"dag_id", "defaults", "tasks"}}
    return make_dag(dag_id, head), defaults


def _read_task(given: object, defaults: Mapping[str, object]) -> Task:
    if not isinstance(given, dict):
        raise InvalidDag(detail=f'{given!r} is no task: write {{"task_id": ..., "shell": ...}}')
    task_id = _need(given, "task_id", "a task")
    refuse_unknown(given, _TASK_WORDS, f"task {task_id!r}")
    words = {word: value for word, value in given.items() if word in TASK_KEYWORDS}
    if isinstance(words.get("over"), dict):
        words["over"] = _read_ref(given["over"], f"task {task_id!r}: over")
    return make_task(task_id, _read_command(given), {**defaults, **words}, upstream=given.get("upstream", ()))


def _read_command(given: Mapping[str, object]) -> dict[str, object]:
    where = f"task {given['task_id']!r}"
    if sum(word in given for word in _COMMAND_WORDS) != 1:
        either = '"shell": "script", "argv": ["program", "argument"] or "python": "module:function"'
        raise InvalidDag(detail=f"{where}: say one of {either}")
    if "python" in given:
        return _read_call(given, where)
    for word in ("args", "kwargs"):
        if word in given:
            raise InvalidDag(detail=f'{where}: {word!r} are for a "python" task')
    if "shell" in given:
        return {"kind": "shell", "script": given["shell"]}
    args = given["argv"]
    if isinstance(args, list):
        args = [_read_ref(arg, f"{where}: an argument") if isinstance(arg, dict) else arg for arg in args]
    return {"kind": "argv", "args": args}


def _read_call(given: Mapping[str, object], where: str) -> dict[str, object]:
    call = read_call(given["python"], where)
    code = {"kind": call.code.kind, "ref": call.code.ref}
    args, kwargs = (_read_argument(given.get(word, none), where) for word, none in (("args", []), ("kwargs", {})))
    return {"kind": "python", "code": code, "function": call.function, "args": args, "kwargs": kwargs}


def _read_argument(arg: object, where: str) -> object:
    """Return JSON with references in place of `{"output": ..., "path": ...}` and `{"item": path}`."""
    match arg:
        case dict() if "output" in arg and arg.keys() <= {"output", "path"}:
            return {**_read_ref(arg, f"{where}: an argument"), "path": arg.get("path", [])}
        case {"item": list() as path, **rest} if not rest:
            return {"kind": "map_item", "path": path}
        case dict():
            return {key: _read_argument(item, where) for key, item in arg.items()}
        case list():
            return [_read_argument(item, where) for item in arg]
        case _:
            return arg


def _read_ref(arg: Mapping[str, object], where: str) -> dict[str, object]:
    if arg.keys() == {"item"}:
        return {"kind": "map_item", "path": arg["item"]}
    refuse_unknown(arg, ("output", "path"), where)
    return {"kind": "output", "task_id": _need(arg, "output", where), "path": arg.get("path", ())}


def _need(given: Mapping[str, object], word: str, where: str) -> object:
    if word not in given:
        raise InvalidDag(detail=f"{where} has no {word!r}")
    return given[word]


# --- writing ----------------------------------------------------------------------------------------------------------


def _plain_task(task: Task) -> dict[str, object]:
    plain: dict[str, object] = {"task_id": task.task_id}
    match task.command:
        case Shell(script=script):
            plain["shell"] = script
        case Argv(args=args):
            plain["argv"] = [arg if isinstance(arg, str) else _plain_ref(arg) for arg in args]
        case Python(function=function):
            plain["python"] = f"{task.code.ref}:{function}" if task.code else function
            given = {"args": list(task.command.args), "kwargs": task.command.kwargs}
            plain |= {word: fill_in_refs(value, _plain_ref) for word, value in given.items() if value}
        case _:
            assert_never(task.command)
    if task.upstream:
        plain["upstream"] = task.upstream
    plain |= _differences(task, Task(task_id=TaskId(""), command=task.command), TASK_KEYWORDS)
    if isinstance(task.over, OutputRef):
        plain["over"] = _plain_ref(task.over)
    return plain


def _plain_ref(ref: OutputRef | ItemRef) -> dict[str, object]:
    if isinstance(ref, ItemRef):
        return {"item": ref.path}
    return {"output": ref.task_id, "path": ref.path} if ref.path else {"output": ref.task_id}


def _differences(value: Dag | Task, default: Dag | Task, names: tuple[str, ...]) -> dict[str, object]:
    """Return what an author must say for the value to be other than it is by default."""
    fields = {name: getattr(value, name) for name in names if name in value.__struct_fields__}
    return {
        name: _plain_duration(field) if name in DURATIONS else _plain_times(field)
        for name, field in fields.items()
        if field != getattr(default, name)
    }


def _plain_times(field: object) -> object:
    """Return a field with times as text."""
    match field:
        case datetime():
            return field.isoformat()
        case tuple():
            return [_plain_times(one) for one in field]
        case _:
            return field


def _plain_duration(seconds: float) -> str | float:
    """Return the text that reads as exactly these seconds, if there is one."""
    text = format_duration(seconds)
    return text if parse_duration(text) == seconds else seconds


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
