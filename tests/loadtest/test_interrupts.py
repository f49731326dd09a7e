"""An interrupt inside the block is handled after it, in the way it would have been."""

import signal

import pytest

from loadtest.interrupts import interrupts_later


def interrupt_in_a_block(done: list[str]) -> None:
    with interrupts_later():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest of the block")


def test_it_comes_after_the_block() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt_in_a_block(done)
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_a_handler_ignores_stays_ignored() -> None:
    """As in a lab that was started in the background."""
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        with interrupts_later():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
