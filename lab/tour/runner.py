"""Run the tour: explain a step, ask for a prediction, measure, compare.

Without a terminal it asks nothing: every step runs, and its measured answer is printed.
"""

import os
import select
import signal
import sys
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lab.chain.rundir import LabError
from lab.tour.sandbox import Sandbox
from lab.tour.stage import NotAnAnswer, Question, Stage, Step

WIDTH: Final = 96
"""Maximum columns: longer lines are harder to read."""


class Quit(Exception):
    """The reader quits the tour."""


class _Skipped(Enum):
    SKIPPED = auto()


_SKIPPED: Final = _Skipped.SKIPPED


@dataclass(slots=True)
class Score:
    """Results of the reader's predictions."""

    right: int = 0
    asked: int = 0
    skipped: int = 0
    """Steps that this machine cannot run."""


class Guide:
    """Runs stages, with or without a reader to ask."""

    def __init__(self, console: Console, *, asks: bool) -> None:
        self._console = console
        self._asks = asks
        self.score = Score()

    def stage(self, stage: Stage) -> None:
        """Run one stage; raise Quit if the reader quits."""
        self._console.print()
        self._console.rule(f"[bold]{stage.name}[/]  {stage.title}", align="left")
        self._say(stage.text)
        with Sandbox() as sandbox:
            for number, step in enumerate(stage.steps, 1):
                self._console.print(f"\n[bold cyan]{number} of {len(stage.steps)}[/]")
                if reason := step.unavailable():
                    self.score.skipped += 1
                    self._say(f"skipped: {reason}", "yellow")
                else:
                    self._step(step, sandbox)

    def _step(self, step: Step, sandbox: Sandbox) -> None:
        question = step.question
        self._say(step.setup)
        if step.by_hand:
            self._say(f"try it yourself: {step.by_hand}", "dim")
        self._console.print()
        self._say(question.text, "bold")
        for line in question.choices():
            self._say(f"  {line}")
        predicted = self._ask(question) if self._asks else _SKIPPED
        try:
            with self._console.status("measuring"):
                measured = step.measure(sandbox)
        except OSError as error:  # click would exit silently on a broken pipe, for example
            raise LabError(f"this step could not be measured: {error}") from error
        for line in measured.seen:
            self._say(f"│ {line}", "dim")
        if measured.found is None:
            self._say("measured: undecided, because this machine is too busy", "bold yellow")
        else:
            self._compare(question, predicted, measured.found)
        self._say(step.why)
        if self._asks:
            self._input("Enter: next, q: quit ")

    def _ask(self, question: Question) -> str | float | _Skipped:
        """Ask until the reader gives a valid prediction or skips; return it."""
        while True:
            typed = self._input("your prediction (Enter: skip, q: quit) > ")
            if not typed:
                return _SKIPPED
            try:
                return question.read(typed)
            except NotAnAnswer as error:
                self._say(f"type {error}", "yellow")

    def _input(self, prompt: str) -> str:
        self._console.print(Text(f"  {prompt}", "cyan"), end="")
        _wait_for_a_line()
        try:
            typed = input().strip()
        except EOFError:
            raise Quit from None
        if typed.lower() in {"q", "quit"}:
            raise Quit
        return typed

    def _compare(
        self, question: Question, predicted: str | float | _Skipped, found: str | float
    ) -> None:
        self._say(f"measured: {question.describe(found)}", "bold green")
        if isinstance(predicted, _Skipped):
            return
        self.score.asked += 1
        if question.matches(predicted, found):
            self.score.right += 1
            self._say("✓ as you predicted", "green")
        else:
            self._say(f"✗ you predicted: {question.describe(predicted)}", "red")

    def _say(self, text: str, style: str = "") -> None:
        width = min(self._console.width, WIDTH)
        self._console.print(Padding(Text(text, style), (0, 0, 0, 2)), width=width, highlight=False)

    def end(self) -> None:
        """Print the score."""
        score = self.score
        results = []
        if score.asked:
            results.append(f"you predicted {score.right} of {score.asked} correctly")
        if score.skipped:
            results.append(f"{score.skipped} steps cannot run on this machine, see above")
        self._console.print(f"\n{'; '.join(results) or 'the end of the tour'}", highlight=False)


def _wait_for_a_line() -> None:
    """Wait until a line is typed or the terminal closes; an interrupt ends the wait.

    input() alone can miss Ctrl-C: a signal between the interpreter's last check and the sleep in
    read(2) does not wake the read. The wakeup descriptor stays readable, so select returns.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        while sys.stdin not in select.select([sys.stdin, reader], [], [])[0]:
            os.read(reader, 512)  # a signal whose handler did not raise, such as SIGWINCH
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
