"""What a `python` task calls: from how an author names a function to where its code stands, and what it may be given.

A function is named by itself, or by text: "package.module:function", "file.py:function". Whether the code is there, and
its digest, is for whoever may look at files to say: the parser and the worker.
"""

import hashlib
import inspect
import math
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from .dag import Code
from .errors import InvalidDag

INTEGER_MAX: Final = 2**63 - 1
"""Whole numbers beyond 64 bits do not survive every reader of JSON."""

DEPTH_MAX: Final = 50
"""Lists in lists: what is nested deeper was not written by a person."""

_DIGEST_SHOWN: Final = 12
"""Characters of a digest that tell two files apart."""


class Call(NamedTuple):
    """A function of some code, by its name at module level."""

    code: Code
    function: str


def digest_of(body: bytes) -> str:
    """Return the digest of a file of code."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def show_digest(digest: str) -> str:
    """Shorten a digest for a sentence."""
    return digest.removeprefix("sha256:")[:_DIGEST_SHOWN]


def read_call(text: object, where: str) -> Call:
    """Return what "module:function" or "file.py:function" names; raise InvalidDag."""
    ref, _, function = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    is_file = ref.endswith(".py")
    if not function.isidentifier() or not (is_file or all(part.isidentifier() for part in ref.split("."))):
        detail = f"{where}: {text!r} names no function: write 'package.module:function' or 'file.py:function'"
        raise InvalidDag(detail=detail)
    return Call(Code(kind="file" if is_file else "module", ref=ref), function)


def name_call(function: Callable[..., object], where: str) -> Call:
    """Return under which name a worker finds a function; raise InvalidDag for one that has none."""
    name = getattr(function, "__qualname__", type(function).__name__)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if getattr(module, name, None) is not function or file is None:
        raise InvalidDag(
            detail=f"{where}: no worker can find {name!r} by its name: python() takes a function that stands at the "
            "top of a file by `def`, no lambda, no method and no function in a function"
        )
    if inspect.iscoroutinefunction(function):
        raise InvalidDag(detail=f"{where}: {name}() is async: write a function that calls asyncio.run()")
    spec = getattr(module, "__spec__", None)  # a file that was run, as a DAG file is, has none
    return Call(Code(kind="file", ref=file) if spec is None else Code(kind="module", ref=spec.name), name)


def refuse_misfit(
    function: Callable[..., object], args: Iterable[object], kwargs: Mapping[str, object], where: str
) -> None:
    """Raise InvalidDag if a function cannot take these arguments."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidDag(detail=f"{where}: {function.__name__}(): {error}") from error
    except ValueError:
        pass  # written in C, it does not say what it takes


def refuse_no_json(value: Any, where: str, depth: int = 0, *, what: str = "argument") -> None:  # noqa: ANN401 - what an author wrote
    """Raise InvalidDag unless an argument is JSON that every reader understands."""
    fault = ""
    match value:
        case None | bool() | str():
            pass
        case list() | dict() if depth > DEPTH_MAX:
            fault = f"is nested deeper than {DEPTH_MAX} lists"
        case list():
            for item in value:
                refuse_no_json(item, where, depth + 1, what=what)
        case dict() if all(isinstance(key, str) for key in value):
            for item in value.values():
                refuse_no_json(item, where, depth + 1, what=what)
        case int():
            fault = "is beyond 64 bits: hand it over as text" if abs(value) > INTEGER_MAX else ""
        case float():
            fault = "" if math.isfinite(value) else "cannot be said in JSON"
        case _:
            fault = f"is no JSON but {type(value).__name__}: use text, numbers, lists, dicts with text as keys, outputs"
    if fault:
        raise InvalidDag(detail=f"{where}: its {what} {reprlib.repr(value)} {fault}")
