"""What a stage of the tour is: steps, each with a question that a measurement answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lab.tour.sandbox import Sandbox


class NotAnAnswer(Exception):
    """What was typed does not answer the question; the message says what would."""


@dataclass(frozen=True, slots=True)
class Pick:
    """One of several things that may happen."""

    text: str
    options: Mapping[str, str]
    """What is typed, and what it stands for."""

    def choices(self) -> list[str]:
        """Return a line for each."""
        return [f"{key}) {text}" for key, text in self.options.items()]

    def read(self, typed: str) -> str:
        """Return the key."""
        key = typed.strip().lower().removesuffix(")")
        if key not in self.options:
            raise NotAnAnswer(f"one of {', '.join(self.options)}")
        return key

    def foreseen(self, said: str | float, found: str | float) -> bool:
        """It is the same."""
        return said == found

    def told(self, found: str | float) -> str:
        """Return the key and its text."""
        return f"{found}) {self.options[str(found)]}"


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    text: str
    unit: str = ""
    near: float = 0.0
    """How far from the measured one still counts, as a share of it; 0: the very number."""

    def choices(self) -> list[str]:
        """Return nothing: it is not chosen from."""
        return []

    def read(self, typed: str) -> float:
        """Return the number; a comma or a unit behind it does not matter."""
        try:
            return float(typed.strip().removesuffix(self.unit).replace(",", "."))
        except ValueError:
            raise NotAnAnswer(f"a number{f' of {self.unit}' if self.unit else ''}") from None

    def foreseen(self, said: str | float, found: str | float) -> bool:
        """It is near enough."""
        return abs(float(said) - float(found)) <= self.near * float(found) + 1e-9

    def told(self, found: str | float) -> str:
        """Return it with its unit."""
        return f"{float(found):.3g} {self.unit}".rstrip()


Question = Pick | Number
"""What is asked about an outcome, before it is known."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step found."""

    found: str | float | None
    """The answer: a key of the question's options, or the number; None: undecided, and why is in
    what was seen."""
    seen: Sequence[str] = ()
    """What there was to see, in lines."""


def _nothing_missing() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to look at."""

    look: str
    """What is there, and what is going to be done to it."""
    question: Question
    measure: Callable[[Sandbox], Measured]
    why: str
    """What is behind it, and where to read on."""
    by_hand: str = ""
    """Commands that do the same."""
    unavailable: Callable[[], str | None] = field(default=_nothing_missing)
    """Return why it cannot be shown here and what helps; None: it can."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the notes' stages."""

    name: str
    """S1."""
    title: str
    text: str
    """What it is about."""
    steps: Sequence[Step]
