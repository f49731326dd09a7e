"""The Specs of the two worker managers, fcgi-worker and php-fpm.

They do not implement the `Server` interface of `servers`, because each binds its own listener and
manages its own children, but a Spec describes them like every other architecture.
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
        "N children sleep in epoll_wait on one epoll set, created by the master, which",
        "holds the listener and all idle connections. A request wakes one idle child,",
        "which takes the connection, runs the blocking application and puts the",
        "connection back. The master passes new descriptors to the other children by",
        "SCM_RIGHTS.",
    ),
    sleeps=("in epoll_wait(2), N children on one epoll", "nowhere: read copies at once"),
    good="WSGI code that blocks or crashes, behind a front with kept connections",
    bad="more waiting requests than children",
    neighbours=("php-fpm", "flup-fork", "epoll-oneshot", "prefork"),
    source="fcgi_worker/child.py",
    limits=("N concurrent requests",),
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
        "serves its requests, blocking, until the web server closes it. PHP plugs into",
        "servers through an interface, the SAPI; php-fpm implements it over FastCGI.",
    ),
    sleeps=("in accept(2), then poll(2) and read(2)", "in read(2)"),
    good="PHP: a script that fails or leaks affects only its own request",
    bad="kept connections: each occupies a child, even while idle",
    neighbours=("fcgi-worker", "flup-fork", "prefork", "php-select"),
    source="servers/php/php_fpm.py",
    limits=("a kept connection occupies a child, even while idle", "N concurrent connections"),
    claims=("S5", "S6"),
    target="",
    probe=_without_php_fpm,
)
