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
    processes="one, plus a waiting Python process that started it",
    threads="one",
    multiplexer="select",
    mode="level",
    model=(
        "The same loop over stream_select as php-select, but a connection is a generator:",
        "one function from accept to close, which yields what it waits for and resumes",
        "when the event or the deadline comes.",
    ),
    sleeps=(
        "the process in select(2); the coroutine in yield",
        "nowhere: recv copies immediately",
    ),
    good="straight-line code for many connections, in PHP",
    bad="small requests: each function that may wait needs a generator",
    neighbours=("php-select", "coroutine"),
    source="servers/php/coroutine.php",
    limits=(
        "FD_SETSIZE: a connection with descriptor ≥ 1024 gets 503",
        "one process",
        "a CPU-bound handler stalls every connection",
    ),
    claims=("S2", "S8", "S9"),
    target="servers.php.php_coroutine:PhpCoroutine",
    probe=without_php,
)


class PhpCoroutine(PhpScript):
    """One generator per connection, resumed when select reports it ready."""

    script = "coroutine.php"
