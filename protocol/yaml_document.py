"""A DAG as a YAML document (`*.dag.yaml`): the same document as `document.py` reads as JSON, and the same value.

    dag_id: nightly_sales
    defaults: {retries: 2}
    tasks:
      - task_id: extract
        shell: sales-extract --day $HEADWAY_DS
        timeout: 1h

A word without quotes is what it would be in JSON (null, true, false, a number; nothing at all and ~ are null) and text
otherwise: so `no`, `on`, `08:30`, `2026-01-31` and `007` stay what was written, which YAML 1.1 makes other things of.
Anchors may be used again, within a bound. Refused, with the line: a key that stands twice or is no text, tags, merge
keys and a second document. Nothing but these plain values can come out, whatever the bytes are.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import yaml
from yaml import AliasEvent, CSafeLoader, MappingStartEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent

from .document import NO_DAG, Document, Entry, build_document, say_double, unreadable
from .limits import TASKS_PER_DAG_MAX

ALIASED_VALUES_MAX: Final = 10 * TASKS_PER_DAG_MAX
"""Values that all aliases together stand for: ten for each task, and a bomb of nested ones is told long before."""

_Event: TypeAlias = Any
"""An event or error of the library; its types leave open whether one has a place, and these always have."""

_WORDS: Final[Mapping[str, bool | None]] = {"": None, "~": None, "null": None, "true": True, "false": False}
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class _Refused(Exception):
    """YAML that is no document of ours, and the line of it."""

    def __init__(self, event: _Event, message: str) -> None:
        super().__init__(message)
        self.line = event.start_mark.line + 1


def read_yaml_document(body: bytes) -> Document:
    """Read a document, whatever it holds. Whether the DAG makes sense is for `validate` to say."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return unreadable(body.count(b"\n", 0, error.start) + 1, f"not UTF-8: {error.reason}")
    try:
        return _Reader(text).read()
    except _Refused as error:
        return unreadable(error.line, str(error))
    except yaml.reader.ReaderError as error:
        line = body.count(b"\n", 0, error.position) + 1
        return unreadable(line, f"not YAML: character {error.character!r} may not stand in it")
    except yaml.MarkedYAMLError as error:
        return unreadable(*_explain(error, text))
    except (ValueError, RecursionError) as error:
        return unreadable(1, f"not YAML that can be read: {error}")


class _Reader:
    """Reads one document from the library's events: values as they come, and the lines that faults are told with."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[_Event] = yaml.parse(text, Loader=CSafeLoader)
        self._anchors: dict[str, tuple[object, int]] = {}
        self._count = 0
        self._aliased = 0

    def read(self) -> Document:
        """Return what the document says; raise _Refused or what the library raises."""
        next(self._events)  # the stream's start
        next(self._events)  # the document's start, or an empty stream's end
        start = next(self._events, None)
        if not isinstance(start, MappingStartEvent):
            return unreadable(1, NO_DAG)
        content: dict[str, object] = {}
        lines: dict[str, int] = {}
        entries: list[Entry] = []
        inner: dict[str, int] = {}
        for key, line in self._keys(start):
            lines[key] = line
            if key == "tasks":
                content[key] = self._tasks(entries)
            else:
                content[key] = self._value(next(self._events), inner if key == "defaults" else None)
        next(self._events)  # the document's end
        more = next(self._events)
        if not isinstance(more, yaml.StreamEndEvent):
            raise _Refused(more, "a second document begins here: write one DAG to a file")
        if not isinstance(content.get("tasks"), list):
            return unreadable(lines.get("tasks", 1), NO_DAG)
        return build_document(content, entries, inner | lines)

    def _tasks(self, entries: list[Entry]) -> object:
        """Return the tasks, with an entry for each, or None where no list of them begins."""
        start = next(self._events)
        if not isinstance(start, SequenceStartEvent):
            self._value(start)
            return None
        _refuse_tag(start)
        tasks: list[object] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            keys: dict[str, int] = {}
            entries.append(Entry(line=event.start_mark.line + 1, keys=keys))
            tasks.append(self._value(event, keys))
        return tasks

    def _value(self, event: _Event, lines: dict[str, int] | None = None) -> object:
        """Return the value that begins with this event; put the lines of its keys into `lines`, if it has any."""
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self._count
        self._count += 1
        value: object
        if isinstance(event, ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, SequenceStartEvent):
            _refuse_tag(event)
            value = list(self._items())
        else:
            value = found = {}
            for key, line in self._keys(event):
                if lines is not None:
                    lines[key] = line
                found[key] = self._value(next(self._events))
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before)
        return value

    def _items(self) -> Iterator[object]:
        while not isinstance(event := next(self._events), SequenceEndEvent):
            yield self._value(event)

    def _keys(self, start: _Event) -> Iterator[tuple[str, int]]:
        """Yield each key of a mapping with its line; who takes one reads its value before the next."""
        _refuse_tag(start)
        seen: set[str] = set()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = _scalar(event) if isinstance(event, ScalarEvent) else None
            if not isinstance(key, str):
                written = f"key {event.value!r}" if isinstance(event, ScalarEvent) else "a key"
                raise _Refused(event, f"{written} is no text: put it in quotes")
            if key == "<<":
                raise _Refused(event, "merge keys (<<) are not read: say what tasks share in `defaults`")
            if key in seen:
                raise _Refused(event, say_double(key))
            seen.add(key)
            yield key, event.start_mark.line + 1

    def _alias(self, event: AliasEvent) -> object:
        if event.anchor not in self._anchors:
            raise _Refused(event, f"alias *{event.anchor} stands for nothing that has ended before it")
        value, size = self._anchors[event.anchor]
        self._count += size
        self._aliased += size
        if self._aliased > ALIASED_VALUES_MAX:
            raise _Refused(event, f"the aliases stand for more than {ALIASED_VALUES_MAX} values: write fewer")
        return value


def _scalar(event: ScalarEvent) -> object:
    _refuse_tag(event)
    text: str = event.value
    if not event.implicit[0]:  # in quotes, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    return float(text) if number[1] or number[2] else int(text)


def _refuse_tag(event: _Event) -> None:
    if event.tag is not None:
        raise _Refused(event, f"tag {event.tag!r} is not read: remove it, and put text in quotes")


def _explain(error: _Event, text: str) -> tuple[int, str]:
    """Return the line and the sentence for what the library found."""
    line, column = error.problem_mark.line, error.problem_mark.column
    began = f" {error.context} (begun on line {error.context_mark.line + 1}):" if error.context_mark else ""
    rows = text.split("\n")
    line = min(line, len(rows) - 1)  # the library puts the end of the stream on a line of its own
    hint = ": a tab, indent by spaces" if rows[line][column : column + 1] == "\t" else ""
    return line + 1, f"not YAML:{began} {error.problem} (column {column + 1}){hint}"
