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
    processes="one, plus a waiting Python process that started it",
    threads="one",
    multiplexer="select",
    mode="level",
    model=(
        "PHP's command line as a server: each call of stream_select passes all sockets.",
        "One object per connection registers a callback for its next event;",
        "a waiting request is a deadline. HTTP is written from scratch, too.",
    ),
    sleeps=("in select(2), for all connections at once", "nowhere: recv copies immediately"),
    good="showing the model in a language that normally uses one process per request",
    bad="many connections; code split into callbacks",
    neighbours=("select", "php-coroutine"),
    source="servers/php/select.php",
    limits=(
        "FD_SETSIZE: a connection with descriptor ≥ 1024 gets 503",
        "one process",
        "a CPU-bound handler stalls every connection",
    ),
    claims=("M3", "E1", "E2", "S1", "S2", "S7", "S9"),
    target="servers.php.php_select:PhpSelect",
    probe=without_php,
)


class PhpSelect(PhpScript):
    """Callbacks for the sockets that select reports ready."""

    script = "select.php"
