"""Parameters of a run: what an author says of one, and whether a value is one of its values. Pure.

An author writes a plain value, which is the default and whose type is the parameter's, or what is true of all its
values, in JSON Schema's words: `{"type": "integer", "default": 5, "minimum": 1}`. Without a default whoever
triggers a run must give one.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

Scalar = str | int | float | bool | None
ParamType = Literal["string", "integer", "number", "boolean", "null"]

INTEGER_MAX: Final = 2**63 - 1
"""Whole numbers beyond 64 bits do not survive every reader of JSON."""


class Param(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is true of every value of a parameter; `type` None or several types allow several."""

    type: ParamType | tuple[ParamType, ...] | None = None
    default: Scalar | UnsetType = UNSET
    description: str = ""
    enum: tuple[Scalar, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    minLength: int | None = None  # noqa: N815 - JSON Schema's own word
    maxLength: int | None = None  # noqa: N815 - the same


Params = Mapping[str, str | int | float | bool | Param | None]

_NAMES: Final[Mapping[type, ParamType]] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_WORDS: Final[Mapping[ParamType, str]] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def param_of(said: Scalar | Param) -> Param:
    """Return what an author said of a parameter; a plain value gives its type, and null gives none."""
    return said if isinstance(said, Param) else Param(type=_NAMES.get(type(said)), default=said)


def defaults_of(params: Params) -> dict[str, Scalar]:
    """Return the default of every parameter that has one."""
    pairs = ((name, param_of(said).default) for name, said in params.items())
    return {name: default for name, default in pairs if default is not UNSET}


def given_faults(params: Params, given: Mapping[str, Scalar]) -> Iterator[str]:
    """Yield what is wrong with the values that are given for a run, as sentences without a full stop."""
    for name in sorted(given.keys() - params.keys()):
        known = f"; it has {', '.join(params)}" if params else ""
        yield f"there is no parameter {name!r}{known}"
    for name, said in params.items():
        param = param_of(said)
        if name in given:
            yield from value_faults(name, param, given[name])
        elif param.default is UNSET:
            yield f"parameter {name!r} has no default: give it a value"


def value_faults(name: str, param: Param, value: Scalar) -> Iterator[str]:
    """Yield what is wrong with a value of a parameter."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"parameter {name!r} is {value}, which JSON cannot say"
    elif isinstance(value, int) and abs(value) > INTEGER_MAX:
        yield f"parameter {name!r} is beyond 64 bits: write it as text"
    elif isinstance(value, str) and "\0" in value:
        yield f"parameter {name!r} holds a NUL character, which no environment variable can"
    elif not has_type(param, value):
        yield f"parameter {name!r} is {say_type(param)}, and {value!r} is not"
    else:
        yield from _bound_faults(name, param, value)


def has_type(param: Param, value: Scalar) -> bool:
    """Say whether a value is of one of the types; a whole number is a number."""
    found = _NAMES.get(type(value), "null")
    types = _types(param)
    return not types or found in types or (found == "integer" and "number" in types)


def say_type(param: Param) -> str:
    """Say the types in words."""
    return " or ".join(_WORDS[name] for name in _types(param))


def say_param(param: Param, name: str) -> str:
    """Say for a person what a parameter may be."""
    types = say_type(param) or "anything"
    enum = f" of {', '.join(map(str, param.enum))}" if param.enum is not None else ""
    what = f" ({param.description})" if param.description else ""
    if isinstance(param.default, UnsetType):
        return f"{types}{enum}, to be given as --param {name}=...{what}"
    return f"{types}{enum}, {param.default} unless --param {name}=... says otherwise{what}"


def rule_faults(name: str, param: Param) -> Iterator[str]:
    """Yield where what is said of a parameter contradicts itself, its default among it."""
    if not isinstance(param.default, UnsetType):
        yield from value_faults(name, param, param.default)
    for low, high in ((param.minimum, param.maximum), (param.minLength, param.maxLength)):
        if low is not None and high is not None and low > high:
            yield f"parameter {name!r} can have no value: its minimum {low} is above its maximum {high}"
    if param.enum == ():
        yield f"parameter {name!r} can have no value: its enum is empty"


def _types(param: Param) -> tuple[ParamType, ...]:
    match param.type:
        case None:
            return ()
        case str():
            return (param.type,)
        case _:
            return param.type


def _bound_faults(name: str, param: Param, value: Scalar) -> Iterator[str]:
    if param.enum is not None and not any(type(one) is type(value) and one == value for one in param.enum):
        yield f"parameter {name!r} is one of {', '.join(map(repr, param.enum))}, and {value!r} is not"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if param.minimum is not None and value < param.minimum:
            yield f"parameter {name!r} is at least {param.minimum:g}, and {value!r} is not"
        if param.maximum is not None and value > param.maximum:
            yield f"parameter {name!r} is at most {param.maximum:g}, and {value!r} is not"
    if isinstance(value, str):
        if param.minLength is not None and len(value) < param.minLength:
            yield f"parameter {name!r} has at least {param.minLength} characters, and {value!r} has {len(value)}"
        if param.maxLength is not None and len(value) > param.maxLength:
            yield f"parameter {name!r} has at most {param.maxLength} characters, and {value!r} has {len(value)}"
