"""Turns JSON values into frozen dataclasses by their annotations.

    read(Result, json.loads(text))

Supports what the result's fields use: dataclasses, list, dict with text keys, X | None, Literal,
float, int, bool and str. An unknown field is an error, and so is a missing one without a default:
a file that does not fit is rejected, never half read.
"""

import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class Unfit(ValueError):
    """A value that does not fit; the message begins with the field's path."""


def read(wanted: Any, value: Any, path: str = "") -> Any:
    """Return `value` as an instance of `wanted`; Unfit names the field that does not fit."""
    origin = get_origin(wanted)
    if is_dataclass(wanted):
        return _dataclass(wanted, value, path)
    if origin is list:
        _check(isinstance(value, list), path, "a list", value)
        return [read(get_args(wanted)[0], each, f"{path}[{at}]") for at, each in enumerate(value)]
    if origin is dict:
        _check(isinstance(value, dict), path, "an object", value)
        kind = get_args(wanted)[1]
        return {key: read(kind, each, f"{path}.{key}") for key, each in value.items()}
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return read(get_args(wanted)[0], value, path)
    if origin is Literal:
        choices = get_args(wanted)
        _check(value in choices, path, f"one of {', '.join(choices)}", value)
        return value
    return _scalar(wanted, value, path)


def _dataclass(wanted: Any, value: Any, path: str) -> Any:
    _check(isinstance(value, dict), path, "an object", value)
    hints = get_type_hints(wanted)
    known = {each.name: each for each in fields(wanted)}
    for name in value:
        if name not in known:
            raise Unfit(f"{_at(path, name)}: unknown")
    for name, each in known.items():
        if name not in value and each.default is each.default_factory is MISSING:
            raise Unfit(f"{_at(path, name)}: missing")
    given = {name: read(hints[name], each, _at(path, name)) for name, each in value.items()}
    return wanted(**given)


def _scalar(wanted: Any, value: Any, path: str) -> Any:
    name = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}[wanted]
    kinds = (int, float) if wanted is float else (wanted,)
    right = isinstance(value, kinds) and isinstance(value, bool) == (wanted is bool)
    _check(right, path, name, value)
    return float(value) if wanted is float else value


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _check(holds: bool, path: str, wanted: str, value: Any) -> None:
    if not holds:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise Unfit(f"{path or 'the file'}: expected {wanted}, found {shown}")
