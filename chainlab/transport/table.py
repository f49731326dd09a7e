"""A TOML file, read field by field; every mistake is collected, with its line.

A mistake reads `FILE:LINE: field: problem; remedy`, so that an operator can go straight to the
line. Reading continues after a mistake with the field's default: one run reports all of them. No
value can escape as another exception: what a conversion raises becomes a mistake of its field.

tomllib keeps no line numbers. When there is a mistake, `_Lines` lists which field each line of the
text sets, and the line that shares the longest path with the wanted field is reported.
"""

import difflib
import re
import tomllib
from bisect import bisect
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, TypeVar

from chainlab.transport.address import Address, AddressError, parse_address
from chainlab.transport.networks import NetworkError, Networks

T = TypeVar("T")
Place: TypeAlias = tuple[str | int, ...]
"""Where a field is: table names, then the key. A number is an index in an array of tables."""

_LONGEST: Final = 86400.0  # seconds, of any timeout
_WIDTH: Final = 60  # characters of a value that a message quotes

_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEYS: Final = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_SETS: Final = re.compile(rf"\s*(?:(\[\[?)\s*({_KEYS})\s*\]|({_KEYS})\s*=)")
_AT: Final = re.compile(r"at line (\d+), column \d+\)$")


class Mistake(ValueError):
    """A value cannot be used; the message says why and what to write instead."""


class ConfigError(ValueError):
    """A file cannot be used; `mistakes` has one line for each reason."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Document:
    """A TOML text, called `name` in messages; ConfigError if it is not TOML."""

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._text = text
        self._lines: _Lines | None = None
        self.mistakes: list[tuple[int, str]] = []
        self.top = Table(self, _parse(text, name), ())

    def mistake(self, place: Place, message: str) -> None:
        """Note that the field at `place` is wrong; `message` is problem and remedy."""
        if self._lines is None:
            self._lines = _Lines(self._text)
        line = self._lines.find(place)
        where = ".".join(key for key in place if isinstance(key, str))
        self.mistakes.append((line, f"{self._name}:{line}: {where}: {message}"))

    def finish(self) -> None:
        """Raise ConfigError with every mistake, in the order of the lines, if there are any."""
        if self.mistakes:
            raise ConfigError(*(message for _, message in sorted(self.mistakes)))


class Table:
    """One table. Each read removes a field; `finish` reports the fields left as unknown."""

    def __init__(self, document: Document, values: dict[str, Any], place: Place) -> None:
        self._document = document
        self._values = dict(values)
        self._known: list[str] = []
        self.place = place

    @property
    def name(self) -> str:
        """The last part of the table's name."""
        return str(self.place[-1])

    @property
    def mistakes(self) -> int:
        """Number of mistakes in the whole document so far."""
        return len(self._document.mistakes)

    def mistake(self, key: str, message: str) -> None:
        """Note that field `key` is wrong, or the whole table if `key` is empty."""
        self._document.mistake((*self.place, key) if key else self.place, message)

    def finish(self) -> None:
        """Report unknown fields."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, 1)
            known = ", ".join(self._known)
            remedy = f"did you mean {near[0]}?" if near else f"known fields: {known}"
            self.mistake(key, f"unknown field; {remedy}")

    def take(self, key: str, default: T, convert: Callable[[Any], T]) -> T:
        """Take field `key`, converted; `default` if it is absent or wrong.

        `convert` raises Mistake, AddressError or NetworkError with problem and remedy. Any other
        exception is reported, too: it is a value that nobody thought of.
        """
        self._known.append(key)
        if key not in self._values:
            return default
        value = self._values.pop(key)
        try:
            return convert(value)
        except (Mistake, AddressError, NetworkError) as error:
            self.mistake(key, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, this value caused it
            self.mistake(key, f"{show(value)} cannot be used: {error!r:.200}; write another value")
        return default

    def text(self, key: str, default: str) -> str:
        """Take a string without control characters."""
        return self.take(key, default, _to_text)

    def choice(self, key: str, choices: tuple[str, ...], default: str = "") -> str:
        """Take one of `choices`; the default is the first unless given."""

        def convert(value: Any) -> str:
            text = _to_text(value)
            if text not in choices:
                raise Mistake(f"unknown value {show(text)}; choose from: {', '.join(choices)}")
            return text

        return self.take(key, default or choices[0], convert)

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """Take a whole number from `low` to `high`, or `default`."""
        return self.take(key, default, lambda value: _to_int(value, low, high, also=default))

    def optional_number(self, key: str, low: int, high: int) -> int | None:
        """Take a whole number from `low` to `high`; None if it is absent."""
        nothing: int | None = None
        return self.take(key, nothing, lambda value: _to_int(value, low, high))

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Take a boolean."""

        def convert(value: Any) -> bool:
            if not isinstance(value, bool):
                raise Mistake(f"{show(value)} is neither true nor false; write true or false")
            return value

        return self.take(key, default, convert)

    def seconds(self, key: str, default: float) -> float:
        """Take a number of seconds above 0."""
        return self.take(key, default, _to_seconds)

    def addresses(self, key: str) -> tuple[Address, ...]:
        """Take a list of addresses; every wrong one is a mistake of its own."""
        return self._each(key, 'a list like ["127.0.0.1:8080"]', parse_address)

    def _each(self, key: str, expected: str, convert: Callable[[str], T]) -> tuple[T, ...]:
        items: list[Any] = self.take(key, [], lambda value: _require(value, (list,), expected))
        found: list[T] = []
        for item in items:
            try:
                found.append(convert(_to_text(item)))
            except (Mistake, AddressError, NetworkError) as error:
                self.mistake(key, str(error))
        return tuple(found)

    def networks(self, key: str, default: Networks) -> Networks:
        """Take a list of networks, addresses and "unix"; every wrong one is a mistake."""
        if key not in self._values:
            self._known.append(key)
            return default
        parsed = self._each(
            key, 'a list like ["10.0.0.0/8", "unix"]', lambda text: Networks.parse([text])
        )
        return Networks(
            tuple(network for each in parsed for network in each.networks),
            any(each.unix for each in parsed),
        )

    def strings(self, key: str) -> tuple[tuple[str, str], ...]:
        """Take a table of strings."""

        def convert(value: Any) -> tuple[tuple[str, str], ...]:
            values = _require(value, (dict,), 'a table like { NAME = "value" }')
            for name, text in values.items():
                if not isinstance(text, str):
                    raise Mistake(f"{show(name)} is {show(text)}, not a string; write a string")
            return tuple(values.items())

        return self.take(key, (), convert)

    def table(self, key: str) -> "Table":
        """Take a table; a missing one is empty."""
        empty: dict[str, Any] = {}
        expected = f"a table like [{'.'.join(map(str, (*self.place, key)))}]"
        values = self.take(key, empty, lambda value: _require(value, (dict,), expected))
        return Table(self._document, values, (*self.place, key))

    def tables_by_name(self, key: str) -> Iterator["Table"]:
        """Take the tables [key.NAME]."""
        outer = self.table(key)
        for name in list(outer._values):  # noqa: SLF001 - the same class
            yield outer.table(name)

    def tables_in_order(self, key: str) -> Iterator["Table"]:
        """Take the tables of the array [[key]]."""

        def convert(value: Any) -> list[dict[str, Any]]:
            for item in _require(value, (list,), f"an array of tables like [[{key}]]"):
                _require(item, (dict,), f"a table like [[{key}]]")
            return list(value)

        none: list[dict[str, Any]] = []
        for nth, values in enumerate(self.take(key, none, convert)):
            yield Table(self._document, values, (*self.place, key, nth))


def show(value: object) -> str:
    """Return `value` as a message quotes it: repr, cut to one short line."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - repr refuses an integer of more than 4,300 digits
        return "an integer too long to print"
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _require(value: Any, kinds: tuple[type, ...], expected: str) -> Any:
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise Mistake(f"{show(value)} is not {expected}; write {expected}")
    return value


def _to_text(value: Any) -> str:
    text: str = _require(value, (str,), "a string")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Mistake(f"{show(text)} has a control character in it; remove it")
    return text


def _to_int(value: Any, low: int, high: int, also: int | None = None) -> int:
    number: int = _require(value, (int,), "a whole number")
    if not low <= number <= high and number != also:
        raise Mistake(f"{show(number)} is out of range; write a number from {low} to {high}")
    return number


def _to_seconds(value: Any) -> float:
    _require(value, (int, float), "a number of seconds")
    if not 0 < value <= _LONGEST:  # exact for integers of any size, false for nan
        limit = f"write a number of seconds above 0 and up to {_LONGEST:.0f}"
        raise Mistake(f"{show(value)} is out of range; {limit}")
    return float(value)


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = _AT.search(str(error))
        line = int(where[1]) if where else text.count("\n") + 1
        raise ConfigError(f"{name}:{line}: not TOML: {error}; correct this line") from None
    except (ValueError, RecursionError) as error:  # a number or nesting beyond Python's limits
        line = _first_line_that_fails(text)
        raise ConfigError(f"{name}:{line}: not TOML: {error}; simplify this line") from None


def _first_line_that_fails(text: str) -> int:
    """Return the first line that raises something other than a syntax error."""
    lines = text.split("\n")

    def fails(count: int) -> bool:
        try:
            tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            return False
        except (ValueError, RecursionError):
            return True
        return False

    return 1 + bisect(range(1, len(lines)), False, key=fails)


class _Lines:
    """Which field each line of a TOML text sets."""

    def __init__(self, text: str) -> None:
        self._indexes: dict[Place, int] = {}  # arrays of tables: the index of the current one
        self._set: list[tuple[int, Place]] = []
        section: Place = ()
        for number, line in enumerate(text.split("\n"), 1):
            match = _SETS.match(line)
            if match is None:
                continue
            bracket, header, keys = match.groups()
            if header:
                section = self._place_of(header, array=bracket == "[[")
                self._set.append((number, section))
            else:
                self._set.append((number, (*section, *_split(keys))))

    def _place_of(self, header: str, *, array: bool) -> Place:
        """Return the place of a table's header; a table in an array belongs to its last item."""
        place: Place = ()
        keys = _split(header)
        for nth, key in enumerate(keys, 1):
            place = (*place, key)
            if array and nth == len(keys):
                self._indexes[place] = self._indexes.get(place, -1) + 1
            if place in self._indexes:
                place = (*place, self._indexes[place])
        return place

    def find(self, place: Place) -> int:
        """Return the line that sets `place`, or else its table, or else 1."""
        best, at = 0, 1
        for number, other in self._set:
            common = _common(place, other)
            if common > best:
                best, at = common, number
        return at


def _split(keys: str) -> list[str]:
    return [key.strip("\"'") for key in re.findall(_KEY, keys)]


def _common(one: Place, other: Place) -> int:
    """Return how many parts two places share at their beginning."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return count
    return min(len(one), len(other))
