"""What runs in a container of the lab: `python -m lab.chain.containers.entrypoint COMMAND`.

    front NAME, backend NAME    become that part
    null                        become the server that does the least (loadtest/floor)
    switch FRONT NAME           write the configuration of the front here anew, for back end NAME
    check NAME                  ask the back end here the quick part of the contract
    tell PACKAGE…               print limits and versions here, of packages too, as JSON

A part is started as `lab up` starts it on a bare machine, from the same registry and by the same
generated configuration; then this program gives its place to it (execve), so that signals reach it
and its exit code is the container's. What it knows comes from docker-compose.yml:

    CHAINLAB_BACKEND   who stands behind the front
    CHAINLAB_LINK      unix: a socket in the volume RUN, which front and back end share
                       tcp: port 9000 of NAME, which DNS knows as every container of that name
    CHAINLAB_WORKERS   requests that a back end with a fixed number runs at once
    CHAINLAB_TIMING    on: gateway and worker answer with Server-Timing and take part in traces

Every container has a socket of its own, NAME.HOST.sock, so replicas do not get into each other's
way; the gateway looks for NAME.*.sock. In the volume a front also keeps, under its host name, who
stands behind it: after a swap a restarted container goes on with that, and a new one begins with
what docker-compose.yml says.
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
"""The volume."""

HTTP_PORT: Final = 8080
LINK_PORT: Final = 9000
FLOOR: Final = "/usr/local/bin/floor"
"""The null server, where an image has it."""

PATIENCE: Final = 30.0
"""Seconds for a back end to be there."""


def main(arguments: list[str]) -> int:
    """Do what `arguments` say; print what is wrong and return 2 when it cannot be done."""
    commands: dict[str, Callable[..., object]] = {
        "front": become_front,
        "backend": become_backend,
        "null": become_null_server,
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
    kept = _front_folder() / "backend"
    chosen = kept.read_text() if kept.exists() else os.environ["CHAINLAB_BACKEND"]
    config = write_front_config(name, chosen)
    # Any answer will do: a back end that is down is not the front's fault.
    docker_health.write(str(HTTP_PORT), b"HTTP/1.1 ", _http(STATUS_PATH), taken_is_well=False)
    command = front.command(config)
    os.execv(command[0], command)


def write_front_config(front: str, name: str) -> Path:
    """Write the configuration that leads to back end `name`."""
    backend = find_backend(name)
    folder = _front_folder()
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        # Lines by the thousand per second would cost the engine more than the chain itself.
        (folder / "access.log").symlink_to("/dev/null")
    (folder / "backend").write_text(name)
    listen = Address("0.0.0.0", HTTP_PORT)
    ways = _ways_to(backend)
    if front == "nginx":  # it knows no pattern, and looks up nothing twice
        ways = [str(way) for way in _wait_for(ways)]
    return find_front(front).write_config(folder, listen, backend, ways, _workers(), timed=_timed())


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


def become_null_server() -> None:
    """Become the server in C that others are measured beside; it is in an image of its own."""
    listener = bind_listener(Address("0.0.0.0", LINK_PORT))
    listener.set_inheritable(True)
    docker_health.write(str(LINK_PORT), b"Hello, world!", _http("/hello"), taken_is_well=False)
    os.execv(FLOOR, [FLOOR, str(listener.fileno())])


def tell(*packages: str) -> None:
    """Print what a comparison's manifest says of where its servers ran."""
    from loadtest import manifest

    programs = {"php": ["php", "--version"]}
    if nginx := find_nginx():
        programs["nginx"] = [nginx, "-v"]
    told = {
        "limits": manifest.limits(),
        "congestion": manifest.congestion(),
        "versions": manifest.versions(list(packages), programs),
    }
    print(json.dumps(told))


def check_backend(name: str) -> None:
    """Ask the back end in this container the quick part of the contract."""
    backend = find_backend(name)
    check(backend, Part(name, os.getpid(), 0.0, str(_own_address(name))), _workers())


def socket_path(name: str, host: str) -> str:
    """Return where back end `name` listens in the container with that host name, by socket."""
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


def _ways_to(backend: Backend) -> list[str]:
    by_socket = Address(path=str(RUN / f"{backend.name}.*.sock"))
    return [str(by_socket if _by_socket() else Address(backend.name, LINK_PORT))]


def _wait_for(ways: list[str]) -> tuple[Address, ...]:
    """Return what `ways` stand for, once there is something; the back end may still be starting."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look_up(map(parse_address, ways))):
        if time.monotonic() > deadline:
            raise LabError(f"nobody is at {ways[0]} within {PATIENCE:g} s")
        time.sleep(0.1)
    return found


def _by_socket() -> bool:
    link = os.environ.get("CHAINLAB_LINK", "unix")
    if link not in ("unix", "tcp"):
        raise LabError(f"LINK is {link!r}; choose unix or tcp")
    return link == "unix"


def _workers() -> int:
    return int(os.environ.get("CHAINLAB_WORKERS", "4"))


def _timed() -> bool:
    timing = os.environ.get("CHAINLAB_TIMING", "on")
    if timing not in ("on", "off"):
        raise LabError(f"TIMING is {timing!r}; choose on or off")
    return timing == "on"


def _front_folder() -> Path:
    return RUN / f"front.{socket.gethostname()}"


def _remove_dead_sockets(name: str) -> None:
    """Remove what containers that are gone, killed perhaps, have left in the volume."""
    for path in RUN.glob(f"{name}.*.sock"):
        if not accepts(parse_address(f"unix:{path}")):
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
