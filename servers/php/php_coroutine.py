"""php-coroutine: the loop of php-select, but each connection is a generator that yields (S8, S9).

The program is coroutine.php; this file describes it and starts it.
"""

from typing import Final

from servers.common.spec import Spec
from servers.php.command_line import PhpScript, without_php

SPEC: Final = Spec(
    name="php-coroutine",
    title="PHP: generators that yield a wait",
    family="coroutine",
    processes="one, and one in Python that started it and waits",
    threads="one",
    multiplexer="select",
    mode="level",
    model=(
        "The same loop over stream_select as php-select's, but a connection is a generator:",
        "one function from accept to close, which yields what it waits for",
        "and is resumed when that has come, or when it is too late.",
    ),
    sleeps=("the process in select(2); the coroutine in its yield", "nowhere: recv copies at once"),
    good="straight code for many connections, in PHP",
    bad="a small request: a generator for each function that may wait",
    neighbours=("php-select", "coroutine"),
    source="servers/php/coroutine.php",
    limits=(
        "FD_SETSIZE: a connection with descriptor ≥ 1024 gets 503",
        "one process",
        "a handler that computes holds up everybody",
    ),
    claims=("S2", "S8", "S9"),
    target="servers.php.php_coroutine:PhpCoroutine",
    probe=without_php,
)


class PhpCoroutine(PhpScript):
    """A generator for each connection, resumed when select says it is ready."""

    script = "coroutine.php"
