"""Signals: reloading without a dropped request, stopping gently and at once, logs reopened."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainlab.transport import Address
from tests.support.gateway import (
    FastCGIPeer,
    Gateway,
    RawClient,
    fastcgi,
    running_gateway,
    serve_always,
)
from tests.support.processes import child_pids, is_alive, wait_until

STATUS = "/-/status"


def named(name: bytes) -> bytes:
    return b"Content-Type: text/plain\r\n\r\n" + name


def write(
    folder: Path, upstream: object, *, workers: int = 1, listen: str = "", more: str = ""
) -> Path:
    path = folder / "g.toml"
    path.write_text(
        f'listen = ["127.0.0.1:0", "unix:{folder}/g.sock"{listen}]\nworkers = {workers}\n'
        f'status_path = "{STATUS}"\n{more}\n[log]\naccess = "{folder}/access.log"\n'
        f'[upstream.app]\nprotocol = "fastcgi"\naddresses = ["{upstream}"]\n'
    )
    return path


def status(found: Gateway) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(found.get(STATUS)[1])
    return told


def reload(found: Gateway) -> None:
    found.process.signal(signal.SIGHUP)


def wait_for_generation(found: Gateway, generation: int) -> None:
    def is_there() -> bool:
        told = status(found)
        return bool(told["generation"] == generation) and not any(
            process["draining"] for process in told["processes"]
        )

    wait_until(is_there, f"generation {generation} serves alone")


class Held:
    """A script that says when a request runs and waits to be let go."""

    def __init__(self, content: bytes) -> None:
        self.runs = threading.Event()
        self.go_on = threading.Event()
        self._content = content

    def __call__(self, peer: FastCGIPeer) -> None:
        while peer.request() is not None:
            self.runs.set()
            assert self.go_on.wait(20)
            peer.answer(self._content)


def test_a_reload_swaps_the_upstream_under_a_kept_connection(tmp_path: Path) -> None:
    held = Held(named(b"old"))
    with (
        fastcgi(tmp_path, held, "old") as old,
        fastcgi(tmp_path, serve_always(named(b"new")), "new") as new,
        running_gateway("--config", str(write(tmp_path, old.address))) as found,
        found.connect() as kept,
        found.connect() as running,
    ):
        assert kept.ask("GET", STATUS)[0].status == 200
        running.request("GET", "/")
        assert held.runs.wait(20)
        write(tmp_path, new.address)
        reload(found)
        wait_until(lambda: status(found)["generation"] == 2, "the new configuration serves")
        assert kept.ask("GET", "/")[1] == b"new"
        assert status(found)["processes"][0]["draining"] == 1  # the old upstream still works
        held.go_on.set()
        assert running.response()[1] == b"old"
        wait_for_generation(found, 2)
        assert running.ask("GET", "/")[1] == b"new"  # its connection stayed, too


def test_a_bad_configuration_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    with fastcgi(tmp_path, serve_always(named(b"old"))) as back:
        config = write(tmp_path, back.address)
        with running_gateway("--config", str(config)) as found:
            good = config.read_text()
            for bad, message in (
                (good + "[timeouts]\nreed = 3\n", "timeouts.reed: unknown field"),
                (
                    good.replace("listen = [", 'listen = ["192.0.2.1:80", '),
                    "not an address of this machine",
                ),
                ("not toml", "not TOML"),
                (good.replace(str(back.address), "a..b:80"), "upstream.app.addresses: 'a..b:80"),
                (good + "[timeouts]\nread = 1" + "0" * 400, "g.toml:11: timeouts.read: 1000"),
                (good + "[timeouts]\nread = 1" + "0" * 5000, "g.toml:11: not TOML"),
                (good + "x = " + "[" * 3000, "g.toml:10: not TOML"),
                (good.replace("/access.log", "/a\\u0000"), "log.access: '"),
                (good + "[[route]]\nprefix = 3\nroot = 3", "g.toml:11: route.prefix: 3 is not"),
            ):
                config.write_text(bad)
                reload(found)
                found.process.wait_for_stderr(message)
                assert found.get("/")[1] == b"old"
                assert "Traceback" not in found.process.stderr
            config.unlink()
            reload(found)
            found.process.wait_for_stderr("No such file or directory")
            assert status(found)["generation"] == 1


def test_a_refused_reload_leaves_the_old_error_log(tmp_path: Path) -> None:
    old, new = tmp_path / "old.log", tmp_path / "new.log"
    with fastcgi(tmp_path, serve_always(named(b"ok"))) as back:
        config = write(tmp_path, back.address)
        good = config.read_text().replace("[log]", f'[log]\nerror = "{old}"')
        config.write_text(good)
        with running_gateway("--config", str(config)) as found:
            bad = good.replace("listen = [", 'listen = ["192.0.2.1:80", ')
            config.write_text(bad.replace(str(old), str(new)))
            for times in (1, 2):
                reload(found)
                wait_until(
                    lambda times=times: old.read_text().count("not an address") == times,  # type: ignore[misc]
                    "the old log says why",
                )
            config.write_text(good.replace(str(old), str(new)))
            reload(found)
            wait_until(lambda: "configuration 2 read" in new.read_text(), "the new log is used")


def test_processes_come_and_go_by_reload(tmp_path: Path) -> None:
    with fastcgi(tmp_path, serve_always(named(b"ok"))) as back:
        config = write(tmp_path, back.address)
        with running_gateway("--config", str(config)) as found:
            for generation, workers in ((2, 3), (3, 1)):
                write(tmp_path, back.address, workers=workers)
                reload(found)
                wait_until(
                    lambda workers=workers: len(found.process.children) == workers,  # type: ignore[misc]
                    f"{workers} processes serve",
                )
                wait_for_generation(found, generation)
                assert found.get("/")[1] == b"ok"


def test_listeners_come_and_go_by_reload(tmp_path: Path) -> None:
    extra = Address(path=f"{tmp_path}/extra.sock")
    with fastcgi(tmp_path, serve_always(named(b"ok"))) as back:
        config = write(tmp_path, back.address)
        with running_gateway("--config", str(config)) as found:
            write(tmp_path, back.address, listen=f', "{extra}"')
            reload(found)
            wait_for_generation(found, 2)
            with RawClient(extra) as client:
                assert client.ask("GET", "/")[1] == b"ok"
                write(tmp_path, back.address)
                reload(found)
                wait_for_generation(found, 3)
                assert not Path(extra.path).exists()
                assert client.ask("GET", "/")[1] == b"ok"  # who is in stays in


def test_sigquit_finishes_what_runs(tmp_path: Path) -> None:
    held = Held(named(b"done"))
    with (
        fastcgi(tmp_path, held) as back,
        running_gateway("--config", str(write(tmp_path, back.address))) as found,
        found.connect() as running,
        found.connect() as idle,
    ):
        assert idle.ask("GET", STATUS)[0].status == 200
        running.request("GET", "/")
        assert held.runs.wait(20)
        found.process.signal(signal.SIGQUIT)
        assert idle.closed_by_peer
        held.go_on.set()
        head, body = running.response()
        assert body == b"done"
        assert head.headers["Connection"] == "close"
        assert found.process.wait() == 0
        assert not (tmp_path / "g.sock").exists()


@pytest.mark.parametrize(
    "send",
    [
        lambda found: found.process.signal(signal.SIGTERM),
        lambda found: [found.process.signal(signal.SIGINT), found.process.wait_for_stderr(
            "stopping after running requests finish"), found.process.signal(signal.SIGINT)],
    ],
    ids=["SIGTERM", "SIGINT twice"],
)  # fmt: skip
def test_stopping_at_once(tmp_path: Path, send: Callable[[Gateway], object]) -> None:
    held = Held(named(b"never"))
    with (
        fastcgi(tmp_path, held) as back,
        running_gateway("--config", str(write(tmp_path, back.address))) as found,
        found.connect() as running,
    ):
        running.request("GET", "/")
        assert held.runs.wait(20)
        send(found)
        assert found.process.wait() == 0
        assert running.closed_by_peer
        held.go_on.set()


def test_the_grace_time_ends(tmp_path: Path) -> None:
    held = Held(named(b"never"))
    with fastcgi(tmp_path, held) as back:
        config = write(tmp_path, back.address)
        config.write_text(config.read_text() + "[timeouts]\ngrace = 0.3\n")
        with running_gateway("--config", str(config)) as found, found.connect() as running:
            running.request("GET", "/")
            assert held.runs.wait(20)
            found.process.signal(signal.SIGQUIT)
            assert found.process.wait() == 0
            found.process.wait_for_stderr("cut off after the grace time")
            held.go_on.set()


def test_a_killed_process_is_replaced_and_a_killed_master_takes_all_along(tmp_path: Path) -> None:
    with fastcgi(tmp_path, serve_always(named(b"ok"))) as back:
        config = write(tmp_path, back.address, workers=2)
        with running_gateway("--config", str(config)) as found:
            first, second = sorted(child_pids(found.process.pid))
            os.kill(first, signal.SIGKILL)
            found.process.wait_for_stderr(f"process {first} was killed by SIGKILL")
            wait_until(lambda: len(found.process.children) == 2, "another takes its place")
            assert found.get("/")[1] == b"ok"
            third = max(found.process.children)
            found.process.signal(signal.SIGKILL)
            wait_until(lambda: not is_alive(second) and not is_alive(third), "all have gone")


def test_logs_are_opened_again(tmp_path: Path) -> None:
    with fastcgi(tmp_path, serve_always(named(b"ok"))) as back:
        config = write(tmp_path, back.address)
        config.write_text(config.read_text().replace("[log]", '[log]\nformat = "json"'))
        with running_gateway("--config", str(config)) as found:
            found.get("/first?x=1")
            log = tmp_path / "access.log"
            wait_until(lambda: "/first" in log.read_text(), "the line is written within seconds")
            log.rename(tmp_path / "access.old")
            found.process.signal(signal.SIGUSR1)
            wait_until(log.exists, "the log is there again")
            found.get("/second")
            wait_until(lambda: "/second" in log.read_text(), "the line is written")
        line = json.loads((tmp_path / "access.old").read_text().splitlines()[0])
    assert line["request"] == "GET /first?x=1 HTTP/1.1"
    assert (line["status"], line["bytes"], line["upstream"], line["cut"]) == (200, 2, "app", False)
    parts = {"accept", "queue", "connect", "first_byte", "send", "total"}
    assert set(line["milliseconds"]) == parts
    assert len(line["id"]) == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no address to listen on; give --config FILE or --listen ADDRESS"),
        (["--listen", "127.0.0.1:0"], "give either --fastcgi ADDRESS or --http ADDRESS"),
        (["--listen", "80", "--http", "127.0.0.1:1"], "neither HOST:PORT nor unix:PATH"),
        (["--config", "none.toml"], "none.toml: No such file or directory"),
        (["--config", "g.toml", "--workers", "2"], "--workers cannot be combined with --config"),
        (["--config", "g.toml"], "g.toml:2: oops: unknown field"),
        (["--config", "g.toml", "--check"], "g.toml:2: oops: unknown field"),
        (["--config", "g.toml", "--check"], "g.toml:5: upstream.a.addresses: 'a..b:80': 'a..b' is"),
        (["--listen", "127.0.0.1:0", "--http", "127.0.0.1:1", "--read-timeout", "0"], "--read-ti"),
        (["--listen", "unix:/no/such/s", "--http", "127.0.0.1:1"], "the folder does not exist"),
        (["--listen", "127.0.0.1:0", "--http", "127.0.0.1:1", "--access-log", "/no/x/y"],
         "name a writable file"),
    ],
)  # fmt: skip
def test_a_command_line_that_cannot_be_obeyed(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "g.toml").write_text(
        'listen = ["127.0.0.1:0"]\noops = 1\n[upstream.a]\nprotocol="http"\n'
        'addresses=["127.0.0.1:1", "a..b:80"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_check_says_that_a_good_configuration_is_good(tmp_path: Path) -> None:
    config = write(tmp_path, "unix:/a")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "--config", str(config), "--check"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "the configuration is valid\n")
