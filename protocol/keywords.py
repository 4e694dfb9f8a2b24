"""What an author may say, by keyword, of a task and of a DAG: the same words in every form that a DAG file has.

Raw keywords go in, typed values come out: durations in seconds, types checked, an unknown word refused with the legal
ones beside it. Whether the values make sense together is for `validation.py` to say.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar, get_args

import msgspec

from .calls import refuse_no_json
from .dag import Dag, Task, refs_of
from .durations import parse_duration
from .errors import InvalidDag, InvalidDuration
from .exit_codes import read_exit_codes, read_retry_on
from .schedule import DEFAULT_TIMEZONE, parse_instant

TASK_KEYWORDS: Final = tuple(
    name for name in Task.__struct_fields__ if name not in {"task_id", "command", "code", "upstream"}
)
DAG_KEYWORDS: Final = (*(name for name in Dag.__struct_fields__ if name not in {"dag_id", "tasks"}), "defaults")
DURATIONS: Final = frozenset(
    {
        "retry_delay",
        "retry_delay_max",
        "retry_timeout",
        "poll_every",
        "poll_timeout",
        "queued_timeout",
        "timeout",
        "deadline",
        "run_timeout",
    }
)
INSTANTS: Final = ("start_date", "end_date")
READERS: Final = {"exit_codes": read_exit_codes, "retry_on": read_retry_on}
"""Keywords with a form of their own."""

_T = TypeVar("_T", Task, Dag)
_PLACE: Final = re.compile(r"\$\.(\w+)[^$]*$")
_NEAR: Final = 0.6
"""Similarity from which a word counts as a misspelling; the default of difflib."""

_WORDS: Final = {
    "`": "",
    " | ": " or ",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "array": "a list",
    "null": "nothing",
    "bool": "true or false",
}


def make_task(
    task_id: object, command: Mapping[str, object], keywords: Mapping[str, object], *, upstream: object = ()
) -> Task:
    """Return the task; raise InvalidDag.

    `command` holds the fields of one kind of command, `kind` among them, and `code` if it calls a function; `keywords`
    are as the author wrote them.
    """
    where = f"task {task_id!r}"
    fields = _read(keywords, TASK_KEYWORDS, where)
    said = dict(command)
    code = said.pop("code", None)
    refuse_no_json([said.get("args"), said.get("kwargs")] if code else [], where)
    if isinstance(keywords.get("over"), list):
        refuse_no_json(keywords["over"], f"{where}: over", what="item")
    task = _convert({"task_id": task_id, "command": said, "code": code, "upstream": upstream, **fields}, Task, where)
    try:
        refs_of(task.command)
    except msgspec.ValidationError as error:
        detail = f"{where}: a reference among its arguments: {_explain(str(error), {}, Task)}"
        raise InvalidDag(detail=detail) from error
    return task


def check_defaults(keywords: Mapping[str, object]) -> None:
    """Raise InvalidDag unless any task could have these keywords."""
    fields = _read(keywords, TASK_KEYWORDS, "defaults")
    _convert({"task_id": "", "command": {"kind": "shell", "script": ""}, **fields}, Task, "defaults")


def make_dag(dag_id: object, keywords: Mapping[str, object]) -> Dag:
    """Return the DAG, without tasks; `defaults` are the caller's to apply. Raises InvalidDag."""
    where = f"DAG {dag_id!r}"
    fields = _read_instants(_read(keywords, DAG_KEYWORDS, where), where)
    return _convert({"dag_id": dag_id, "tasks": (), **fields}, Dag, where)


def refuse_unknown(words: Iterable[str], legal: Iterable[str], where: str) -> None:
    """Raise InvalidDag for the first of `words` that is not legal, with the word that may have been meant."""
    legal = tuple(legal)
    for word in words:
        if word not in legal:
            near = did_you_mean(word, legal)
            raise InvalidDag(
                detail=f"{where}: there is no keyword {word!r}{near}; the legal ones are {', '.join(legal)}", word=word
            )


def did_you_mean(word: object, legal: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` with the legal word nearest to `word`, or nothing where none is near."""
    near = difflib.get_close_matches(str(word), legal, n=1, cutoff=_NEAR)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _read(keywords: Mapping[str, object], legal: tuple[str, ...], where: str) -> dict[str, object]:
    """Return the keywords as the values hold them: durations in seconds, codes as numbers."""
    refuse_unknown(keywords, legal, where)
    fields = dict(keywords)
    for name in sorted(DURATIONS & fields.keys()):
        if fields[name] is not None:
            try:
                fields[name] = parse_duration(fields[name])
            except InvalidDuration as error:
                raise InvalidDag(detail=f"{where}: {name}: {error}", word=name) from error
    for name in READERS.keys() & fields.keys():
        fields[name] = READERS[name](fields[name], where)
    return fields


def _read_instants(fields: Mapping[str, object], where: str) -> dict[str, object]:
    """Return the keywords with times in UTC: one without an offset is of the DAG's time zone."""
    read, zone = dict(fields), fields.get("timezone", DEFAULT_TIMEZONE)
    for name in ("schedule", *INSTANTS):
        given = read.get(name)
        if given is not None and isinstance(zone, str) and (name != "schedule" or isinstance(given, list | tuple)):
            try:
                read[name] = (
                    tuple(sorted({parse_instant(one, zone) for one in given}))
                    if isinstance(given, list | tuple)
                    else parse_instant(given, zone)
                )
            except InvalidDag as error:
                place = "" if error.fields.get("word") else f"{name}: "
                raise InvalidDag(detail=f"{where}: {place}{error}", word=error.fields.get("word", name)) from error
    return read


def _convert(fields: Mapping[str, object], to: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(fields, to)
    except msgspec.ValidationError as error:
        message = str(error)
        raise InvalidDag(detail=f"{where}: {_explain(message, fields, to)}", word=_word(message)) from error


def _word(text: str) -> str:
    """Return the keyword that msgspec speaks of: the first name of `what - at place`."""
    found = _PLACE.search(text)
    return found[1] if found else ""


def _explain(text: str, fields: Mapping[str, object], to: type[_T]) -> str:
    """Say what msgspec said (`what - at place`) in the author's words."""
    what, _, place = text.rpartition(" - at ")
    path = place.rpartition("`$")[2].strip("`.").removeprefix("command.").removesuffix("[...]")
    if what.startswith("Invalid enum value") and path in to.__annotations__:
        legal = ", ".join(repr(value) for value in get_args(to.__annotations__[path]))
        return f"{path}: {fields[path]!r} is none of {legal}"
    for word, ours in {**_WORDS, "object": "an output" if path.startswith(("args[", "over")) else "a mapping"}.items():
        what = what.replace(word, ours)
    return f"{'keys of ' if place.startswith('`key`') else ''}{path}: {what[:1].lower()}{what[1:]}"
