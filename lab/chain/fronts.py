"""The fronts of the chain: our gateway, and nginx if it is installed.

A front starts with a generated configuration. To switch it to another back end, write a new
configuration and call `switch`, which sends SIGHUP and returns once no request is left on the old
back end.
"""

import contextlib
import json
import os
import shutil
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from chainlab.transport import Address
from lab.chain.backends import Backend
from lab.chain.processes import family_of, start_part
from lab.chain.rundir import LabError, Part, RunDir

STATUS_PATH: Final = "/-/gateway"
SWITCH_PATIENCE: Final = 60.0  # seconds for requests on the old back end to finish


class Front(ABC):
    """A reverse proxy at the head of the chain."""

    name: str
    title: str
    mode: str
    """Its epoll mode: level, edge, ..."""
    source: str
    """The source file to read."""

    @abstractmethod
    def unavailable(self) -> str | None:
        """Return why it cannot run here and how to fix that, or None if it can."""

    @abstractmethod
    def write_config(
        self,
        folder: Path,
        listen: Address,
        backend: Backend,
        addresses: Sequence[str],
        workers: int,
        *,
        timed: bool = False,
    ) -> Path:
        """Write a configuration that proxies to `backend`, which listens at all `addresses`.

        `timed` makes the front report where the time goes, if it can.
        """

    @abstractmethod
    def command(self, config: Path) -> list[str]:
        """Return the command that runs it in the foreground."""

    @abstractmethod
    def switch(self, part: Part, config: Path) -> None:
        """Make the running `part` reload its configuration; wait until the old one has drained."""

    def start(
        self,
        run_dir: RunDir,
        listen: Address,
        backend: Backend,
        address: str,
        workers: int,
        *,
        timed: bool = False,
    ) -> Part:
        """Start it; LabError if it is not installed or the address is taken."""
        if reason := self.unavailable():
            raise LabError(f"{self.name} cannot run here: {reason}")
        config = self.write_config(run_dir.path, listen, backend, [address], workers, timed=timed)
        return start_part(self.name, self.command(config), listen, run_dir)


class Gateway(Front):
    """Our own gateway, `chain-gateway`."""

    name = "gateway"
    title = "our gateway"
    mode = "level, EPOLLEXCLUSIVE"
    source = "gateway/loop.py"

    def unavailable(self) -> str | None:
        """Return None: it is part of this project."""
        return None

    def write_config(
        self,
        folder: Path,
        listen: Address,
        backend: Backend,
        addresses: Sequence[str],
        workers: int,
        *,
        timed: bool = False,
    ) -> Path:
        """Write gateway.toml."""
        # If a kept connection pins a worker, more connections than workers would wait unanswered
        # in the backlog; with this limit, requests wait in the gateway's queue instead.
        limit = 1 if backend.pins == "one" else workers
        connections = f"connections = {limit}\n" if backend.pins else ""
        script = f"params = {{ SCRIPT_FILENAME = {_quote(backend.script)} }}\n"
        timing = "server_timing = true\ntraceparent = true\n" if timed else ""
        log_format = 'format = "json"\n' if timed else ""
        # In a container, `lab` asks from outside, through a port that Docker forwards.
        inside = listen.host in ("0.0.0.0", "::")
        allow = 'status_allow = ["0.0.0.0/0", "::/0", "unix"]\n' if inside else ""
        path = folder / "gateway.toml"
        path.write_text(
            f"listen = [{_quote(str(listen))}]\n"
            f"status_path = {_quote(STATUS_PATH)}\n{allow}{timing}\n"
            f"[log]\naccess = {_quote(str(folder / 'access.log'))}\n{log_format}\n"
            f"[upstream.{backend.name}]\n"
            f"protocol = {_quote(backend.protocol)}\n"
            f"addresses = {json.dumps(addresses)}\n"
            f"{connections}{script if backend.script else ''}\n"
            f'[[route]]\nprefix = "/"\nupstream = {_quote(backend.name)}\n'
        )
        return path

    def command(self, config: Path) -> list[str]:
        """Return the command, which uses this Python."""
        return [sys.executable, "-m", "gateway", "--config", str(config)]

    def switch(self, part: Part, config: Path) -> None:
        """Send SIGHUP; wait until every process serves the new generation and none is draining."""
        before = gateway_status(part)["generation"]
        _hang_up(part)
        deadline = time.monotonic() + SWITCH_PATIENCE
        while time.monotonic() < deadline:
            status = gateway_status(part)
            draining = any(process["draining"] for process in status["processes"])
            if status["generation"] > before and not draining:
                return
            time.sleep(0.05)
        raise LabError(
            f"the gateway did not switch to {config} within {SWITCH_PATIENCE:g} s; "
            f"its log in {config.parent} says why"
        )


class Nginx(Front):
    """nginx; it keeps connections to the back end unless a kept connection pins a worker."""

    name = "nginx"
    title = "the real nginx"
    mode = "edge"
    source = "lab/chain/fronts.py"

    def unavailable(self) -> str | None:
        """Return how to install nginx, or None if it is installed."""
        return None if find_nginx() else "nginx is not installed: run sudo apt install nginx-light"

    def write_config(
        self,
        folder: Path,
        listen: Address,
        backend: Backend,
        addresses: Sequence[str],
        workers: int,
        *,
        timed: bool = False,
    ) -> Path:
        """Write nginx.conf."""
        del workers  # no limit here: connections that the back end cannot take wait in its backlog
        path = folder / "nginx.conf"
        keep = not backend.pins
        path.write_text(nginx_config(folder, listen, backend, addresses, keep=keep, timed=timed))
        return path

    def command(self, config: Path) -> list[str]:
        """Return the command, which uses the installed nginx."""
        program = find_nginx()
        assert program is not None
        return [program, "-c", str(config), "-p", str(config.parent), "-e", "stderr"]

    def switch(self, part: Part, config: Path) -> None:
        """Send SIGHUP; wait until the old worker processes have exited."""
        before = family_of(part)[1:]
        _hang_up(part)
        deadline = time.monotonic() + SWITCH_PATIENCE
        while any(process.is_running() for process in before):
            if time.monotonic() > deadline:
                raise LabError(
                    f"nginx did not switch to {config} within {SWITCH_PATIENCE:g} s; "
                    f"its log in {config.parent} says why"
                )
            time.sleep(0.05)


FRONTS: Final[dict[str, Front]] = {front.name: front for front in (Gateway(), Nginx())}


def find_front(name: str) -> Front:
    """Return the front `name`; LabError listing all names if there is none."""
    if name not in FRONTS:
        raise LabError(f"no front {name!r}; choose from: {', '.join(FRONTS)}")
    return FRONTS[name]


def gateway_status(part: Part) -> dict[str, Any]:
    """Return the status of a running gateway; LabError if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{part.address}{STATUS_PATH}", timeout=10) as answer:
            status: dict[str, Any] = json.load(answer)
            return status
    except OSError as error:
        raise LabError(f"the gateway at {part.address} does not answer: {error}") from None


def find_nginx() -> str | None:
    """Return the path of nginx; Debian installs it in sbin, outside a user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def nginx_config(
    folder: Path,
    listen: Address,
    backend: Backend,
    addresses: Sequence[str],
    *,
    keep: bool,
    timed: bool = False,
) -> str:
    """Return a complete nginx.conf: one worker, access log on, all files in `folder`.

    `timed` passes a FastCGI back end the time of the request, in milliseconds (X-Request-Start).
    """
    servers = "".join(f"        server {each};\n" for each in addresses)
    keepalive = "        keepalive 64;\n" if keep else ""
    user = "user root;\n" if os.getuid() == 0 else ""
    spool = "".join(
        f"    {kind}_temp_path {folder}/nginx-{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\n"
        "events { worker_connections 4096; }\n"
        f"http {{\n    access_log {folder}/access.log combined buffer=32k flush=1s;\n{spool}"
        f"    client_max_body_size 64m;\n    keepalive_requests 1000000000;\n"
        f"    upstream back {{\n{servers}{keepalive}    }}\n"
        f"    server {{\n        listen {listen};\n        location / {{\n"
        f"{_nginx_pass(backend, keep=keep, timed=timed)}        }}\n    }}\n}}\n"
    )


def _nginx_pass(backend: Backend, *, keep: bool, timed: bool) -> str:
    if backend.protocol == "http":
        lines = {
            "proxy_pass": "http://back",
            "proxy_http_version": "1.1",
        }
        fields = [
            'proxy_set_header Connection ""',
            "proxy_set_header Host $http_host",
            "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for",
        ]
    else:
        lines = {
            "fastcgi_pass": "back",
            "fastcgi_keep_conn": "on" if keep else "off",
        }
        params = {
            **{name.upper(): f"${name}" for name in _SAME_NAME},
            "SERVER_PROTOCOL": "$server_protocol",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_SOFTWARE": "nginx/$nginx_version",
            "SCRIPT_NAME": '""',
            "PATH_INFO": "$uri",
            "REDIRECT_STATUS": "200",
            "HTTP_X_REQUEST_ID": "$request_id",
        }
        if timed:
            params["HTTP_X_REQUEST_START"] = '"t=${msec}"'
        if backend.script:
            params["SCRIPT_FILENAME"] = backend.script
        fields = [f"fastcgi_param {name} {value}" for name, value in params.items()]
    directives = [f"{name} {value}" for name, value in lines.items()] + fields
    return "".join(f"            {directive};\n" for directive in directives)


_SAME_NAME: Final = (
    "query_string", "request_method", "content_type", "content_length", "request_uri",
    "document_uri", "remote_addr", "remote_port", "server_addr", "server_port", "server_name",
)  # fmt: skip


def _quote(text: str) -> str:
    """Return a TOML string; JSON's escapes are valid in TOML."""
    return json.dumps(text)


def _hang_up(part: Part) -> None:
    process = part.process
    if process is None:
        raise LabError(f"{part.name} (pid {part.pid}) has exited; run `lab down` to clean up")
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(1)
