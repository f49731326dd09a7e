"""The two worker managers at the end of the chain, described like every architecture.

They are no `Server` of `servers`, because each binds its own listener and keeps its own children;
what they are, where they sleep and what they cost is told in the same words all the same.
"""

from typing import Final

from servers.common.spec import Spec
from servers.php.php_fpm import find_php_fpm


def _without_php_fpm() -> str | None:
    if find_php_fpm() is None:
        return "php-fpm is not installed: run sudo apt install php-fpm"
    return None


FCGI_WORKER: Final = Spec(
    name="fcgi-worker",
    title="our worker manager",
    family="multiplexing",
    protocol="fastcgi",
    processes="a master and N children",
    threads="one",
    multiplexer="epoll",
    mode="level, oneshot",
    model=(
        "N children sleep in epoll_wait on one epoll that the master made; it holds",
        "the listener and all idle connections. A request wakes one idle child:",
        "it takes the connection, runs the application, blocking, and parks it again.",
        "Descriptors reach the other children by SCM_RIGHTS, from the master.",
    ),
    sleeps=("in epoll_wait(2), N children on one epoll", "nowhere: read copies at once"),
    good="WSGI that blocks or crashes, behind a front that keeps its connections",
    bad="more requests that wait than there are children",
    neighbours=("php-fpm", "flup-fork", "epoll-oneshot", "prefork"),
    source="fcgi_worker/child.py",
    limits=("N requests at one time",),
    claims=("S5", "S6", "E13"),
    target="",
)

PHP_FPM: Final = Spec(
    name="php-fpm",
    title="PHP's own worker manager",
    family="third-party",
    protocol="fastcgi",
    processes="a master and N children",
    threads="one",
    concurrency="workers",
    model=(
        "A master keeps N children; each sleeps in accept, takes one connection and",
        "serves its requests, blocking, until the web server closes it. Between PHP",
        "and whoever serves it lies an interface, the SAPI: here FastCGI's.",
    ),
    sleeps=("in accept(2), then poll(2) and read(2)", "in read(2)"),
    good="PHP: a script that fails or leaks costs one request",
    bad="kept connections: each pins a child, idle or not",
    neighbours=("fcgi-worker", "flup-fork", "prefork", "php-select"),
    source="servers/php/php_fpm.py",
    limits=("a kept connection pins a child, idle or not", "N connections at one time"),
    claims=("S5", "S6"),
    target="",
    probe=_without_php_fpm,
)
