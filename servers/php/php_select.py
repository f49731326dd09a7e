"""php-select: HTTP over stream_select in PHP, with a callback for each wait (S7, M3).

The program is select.php; this file describes it and starts it.
"""

from typing import Final

from servers.common.spec import Spec
from servers.php.command_line import PhpScript, without_php

SPEC: Final = Spec(
    name="php-select",
    title="PHP: stream_select and callbacks",
    family="multiplexing",
    processes="one, and one in Python that started it and waits",
    threads="one",
    multiplexer="select",
    mode="level",
    model=(
        "PHP's command line as a server: stream_select is told all sockets at each call.",
        "An object for each connection names a callback for what it waits for next;",
        "a request that waits is a deadline. HTTP is written from scratch, too.",
    ),
    sleeps=("in select(2), for all connections at once", "nowhere: recv copies at once"),
    good="seeing the model in the language that usually has a process for each request",
    bad="many connections; conversations cut into callbacks",
    neighbours=("select", "php-coroutine"),
    source="servers/php/select.php",
    limits=(
        "FD_SETSIZE: a connection with descriptor ≥ 1024 gets 503",
        "one process",
        "a handler that computes holds up everybody",
    ),
    claims=("M3", "E1", "E2", "S1", "S2", "S7", "S9"),
    target="servers.php.php_select:PhpSelect",
    probe=without_php,
)


class PhpSelect(PhpScript):
    """Callbacks for what select says is ready."""

    script = "select.php"
