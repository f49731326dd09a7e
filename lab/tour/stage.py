"""A stage of the tour: steps, each with a question that a measurement answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lab.tour.sandbox import Sandbox


class NotAnAnswer(Exception):
    """The typed text is not a valid answer; the message says what is."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A multiple-choice question."""

    text: str
    options: Mapping[str, str]
    """Possible outcomes by the key to type."""

    def choices(self) -> list[str]:
        """Return a line for each option."""
        return [f"{key}) {text}" for key, text in self.options.items()]

    def read(self, typed: str) -> str:
        """Parse typed text; return the option's key."""
        key = typed.strip().lower().removesuffix(")")
        if key not in self.options:
            raise NotAnAnswer(f"one of {', '.join(self.options)}")
        return key

    def matches(self, predicted: str | float, found: str | float) -> bool:
        """Return True if the prediction is the measured option."""
        return predicted == found

    def describe(self, answer: str | float) -> str:
        """Return the key and its text."""
        return f"{answer}) {self.options[str(answer)]}"


@dataclass(frozen=True, slots=True)
class Number:
    """A question for a number."""

    text: str
    unit: str = ""
    near: float = 0.0
    """Accepted deviation, as a share of the measured number; 0: the exact number."""

    def choices(self) -> list[str]:
        """Return no options."""
        return []

    def read(self, typed: str) -> float:
        """Parse typed text; return the number. A decimal comma and a trailing unit are accepted."""
        try:
            return float(typed.strip().removesuffix(self.unit).replace(",", "."))
        except ValueError:
            raise NotAnAnswer(f"a number{f' in {self.unit}' if self.unit else ''}") from None

    def matches(self, predicted: str | float, found: str | float) -> bool:
        """Return True if the prediction is within the accepted deviation."""
        return abs(float(predicted) - float(found)) <= self.near * float(found) + 1e-9

    def describe(self, answer: str | float) -> str:
        """Return the number with its unit."""
        return f"{float(answer):.3g} {self.unit}".rstrip()


Question = Pick | Number
"""A question about the outcome of a step, asked before it is measured."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a step."""

    found: str | float | None
    """The answer, an option's key or a number; None if undecided: then `seen` shows why."""
    seen: Sequence[str] = ()
    """Lines of observations to print."""


def _nothing_missing() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Step:
    """One situation, question and measurement."""

    setup: str
    """The situation, and what the step is going to do."""
    question: Question
    measure: Callable[[Sandbox], Measured]
    why: str
    """The explanation, and where to read on."""
    by_hand: str = ""
    """Commands that show the same by hand."""
    unavailable: Callable[[], str | None] = field(default=_nothing_missing)
    """Return why the step cannot run here and what helps, or None if it can."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the notes' stages."""

    name: str
    """Id, such as S1."""
    title: str
    text: str
    """Introduction."""
    steps: Sequence[Step]
