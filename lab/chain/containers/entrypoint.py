"""The entry point of the lab's containers: `python -m lab.chain.containers.entrypoint COMMAND`.

    front NAME, backend NAME    become that part
    baseline                    become the baseline server (loadtest/baseline)
    switch FRONT NAME           rewrite this front's configuration for back end NAME
    check NAME                  run the quick contract checks on this container's back end
    tell PACKAGE…               print limits and versions of programs and packages here, as JSON

A part starts as `lab up` starts it without containers: same registry, same generated
configuration. This program then replaces itself with the part (execve), so that the part receives
the container's signals and provides its exit code. docker-compose.yml sets the variables:

    CHAINLAB_BACKEND   the back end behind the front
    CHAINLAB_LINK      unix: a socket in the volume RUN, which front and back end share
                       tcp: port 9000 of NAME, which DNS resolves to all containers of that name
    CHAINLAB_WORKERS   concurrent requests, for back ends with a fixed number of workers
    CHAINLAB_TIMING    on: gateway and worker send Server-Timing and take part in traces

Each container has its own socket, NAME.HOST.sock, so replicas do not collide; the gateway looks
for NAME.*.sock. A front also stores the name of its back end in the volume, under its host name.
After a swap, a restarted container continues with that back end; a new container starts with the
one from docker-compose.yml.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from chainlab.transport import Address, bind_listener, parse_address
from chainlab.wire.fastcgi import ClientConnection, encode_pairs
from gateway.discovery import look_up
from lab.chain.backends import Backend, find_backend
from lab.chain.containers import health as docker_health
from lab.chain.fronts import STATUS_PATH, find_front, find_nginx
from lab.chain.lifecycle import check
from lab.chain.processes import accepts
from lab.chain.rundir import LabError, Part

RUN: Final = Path("/run/chainlab")
"""The volume that front and back end share."""

HTTP_PORT: Final = 8080
LINK_PORT: Final = 9000
BASELINE: Final = "/usr/local/bin/baseline"
"""The baseline server, in the image that contains it."""

PATIENCE: Final = 30.0
"""Seconds until a back end must be found."""


def main(arguments: list[str]) -> int:
    """Run the command in `arguments`; on failure print the reason and return 2."""
    commands: dict[str, Callable[..., object]] = {
        "front": become_front,
        "backend": become_backend,
        "baseline": become_baseline,
        "switch": write_front_config,
        "check": check_backend,
        "tell": tell,
    }
    try:
        commands[arguments[0]](*arguments[1:])
    except LabError as error:
        print(f"chainlab: {error}", file=sys.stderr)
        return 2
    return 0


def become_front(name: str) -> None:
    """Become the gateway or nginx."""
    front = find_front(name)
    stored = _front_folder() / "backend"
    chosen = stored.read_text() if stored.exists() else os.environ["CHAINLAB_BACKEND"]
    config = write_front_config(name, chosen)
    # Any HTTP status counts: the front is healthy even while its back end is down.
    docker_health.write(str(HTTP_PORT), b"HTTP/1.1 ", _http(STATUS_PATH), taken_is_well=False)
    command = front.command(config)
    os.execv(command[0], command)


def write_front_config(front: str, name: str) -> Path:
    """Write a configuration that proxies to back end `name`."""
    backend = find_backend(name)
    folder = _front_folder()
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        # Docker's log would spend more CPU on thousands of lines per second than the chain itself.
        (folder / "access.log").symlink_to("/dev/null")
    (folder / "backend").write_text(name)
    listen = Address("0.0.0.0", HTTP_PORT)
    addresses = _addresses_of(backend)
    if front == "nginx":  # it supports no patterns and resolves names only once, at the start
        addresses = [str(address) for address in _resolve(addresses)]
    return find_front(front).write_config(
        folder, listen, backend, addresses, _workers(), timed=_timed()
    )


def become_backend(name: str) -> None:
    """Become a back end."""
    backend = find_backend(name)
    if reason := backend.unavailable():
        raise LabError(f"{name} cannot run here: {reason}")
    _remove_dead_sockets(name)
    address = _own_address(name, host="0.0.0.0")
    docker_health.write(
        address.path or str(LINK_PORT),
        b"Hello, world!",
        _fastcgi(backend) if backend.protocol == "fastcgi" else _http("/hello"),
        taken_is_well=bool(backend.pins),
    )
    folder = Path("/tmp/part")
    folder.mkdir(exist_ok=True)
    command = [*backend.command(address, _workers(), folder), *(backend.timing if _timed() else ())]
    os.execve(command[0], command, {**os.environ, "CHAINLAB_ARCHITECTURE": name})


def become_baseline() -> None:
    """Become the baseline server of comparisons, written in C; it has its own image."""
    listener = bind_listener(Address("0.0.0.0", LINK_PORT))
    listener.set_inheritable(True)
    docker_health.write(str(LINK_PORT), b"Hello, world!", _http("/hello"), taken_is_well=False)
    os.execv(BASELINE, [BASELINE, str(listener.fileno())])


def tell(*packages: str) -> None:
    """Print what a comparison's manifest records about the machine of its servers."""
    from loadtest import manifest

    programs = {"php": ["php", "--version"]}
    if nginx := find_nginx():
        programs["nginx"] = [nginx, "-v"]
    facts = {
        "limits": manifest.limits(),
        "congestion": manifest.congestion(),
        "versions": manifest.versions(list(packages), programs),
    }
    print(json.dumps(facts))


def check_backend(name: str) -> None:
    """Run the quick contract checks on the back end in this container."""
    backend = find_backend(name)
    check(backend, Part(name, os.getpid(), 0.0, str(_own_address(name))), _workers())


def socket_path(name: str, host: str) -> str:
    """Return the socket path of back end `name` in the container with that host name."""
    return str(RUN / f"{name}.{host}.sock")


def _own_address(name: str, host: str = "127.0.0.1") -> Address:
    if _by_socket():
        return Address(path=socket_path(name, socket.gethostname()))
    return Address(host, LINK_PORT)


def _http(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n".encode()


def _fastcgi(backend: Backend) -> bytes:
    params = {
        "REQUEST_METHOD": "GET", "REQUEST_URI": "/hello", "PATH_INFO": "/hello", "SCRIPT_NAME": "",
        "SCRIPT_FILENAME": backend.script, "QUERY_STRING": "", "SERVER_NAME": "health",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
    }  # fmt: skip
    pairs = encode_pairs((name.encode(), value.encode()) for name, value in params.items())
    return ClientConnection().begin(pairs, keep_conn=False, body=b"")


def _addresses_of(backend: Backend) -> list[str]:
    by_socket = Address(path=str(RUN / f"{backend.name}.*.sock"))
    return [str(by_socket if _by_socket() else Address(backend.name, LINK_PORT))]


def _resolve(addresses: list[str]) -> tuple[Address, ...]:
    """Expand patterns and names; wait for a result, as the back end may still be starting."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look_up(map(parse_address, addresses))):
        if time.monotonic() > deadline:
            raise LabError(f"no back end at {addresses[0]} after {PATIENCE:g} s")
        time.sleep(0.1)
    return found


def _by_socket() -> bool:
    link = os.environ.get("CHAINLAB_LINK", "unix")
    if link not in ("unix", "tcp"):
        raise LabError(f"LINK is {link!r}; set it to unix or tcp")
    return link == "unix"


def _workers() -> int:
    return int(os.environ.get("CHAINLAB_WORKERS", "4"))


def _timed() -> bool:
    timing = os.environ.get("CHAINLAB_TIMING", "on")
    if timing not in ("on", "off"):
        raise LabError(f"TIMING is {timing!r}; set it to on or off")
    return timing == "on"


def _front_folder() -> Path:
    return RUN / f"front.{socket.gethostname()}"


def _remove_dead_sockets(name: str) -> None:
    """Remove sockets from the volume that dead containers left behind."""
    for path in RUN.glob(f"{name}.*.sock"):
        if not accepts(parse_address(f"unix:{path}")):
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
