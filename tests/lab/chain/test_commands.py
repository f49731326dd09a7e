"""`lab` as a command: what it prints, what it refuses, and that it leaves nothing behind."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.common.registry import SPECS
from tests.support.lab import Lab
from tests.support.processes import wait_until


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as found:
        yield found


def test_list_names_every_part_and_what_is_missing(lab: Lab) -> None:
    parts = {part["name"]: part for part in json.loads(lab.good("list", "--json"))}
    fronts = {name for name, part in parts.items() if part["place"] == "front"}
    assert fronts == {"gateway", "nginx"}
    assert set(parts) - fronts == {"fcgi-worker", "php-fpm", *SPECS}
    assert parts["fcgi-worker"]["unavailable"] is None
    assert parts["wsgiref"]["protocol"] == "http"
    shown = lab.good("list")
    assert all(name in shown for name in parts)


def test_doctor_says_what_is_there(lab: Lab) -> None:
    shown = lab.good("doctor")
    looked_for = ("Python", "flup", "locust", "nginx", "docker compose", "descriptors")
    assert all(name in shown for name in looked_for)


def test_doctor_says_what_gets_an_engine_that_does_not_answer(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with Lab(lab.folder) as without:
        shown = " ".join(without.good("doctor").split())
    assert "docker engine" in shown
    assert "sudo systemctl start docker" in shown


def test_up_draws_the_chain_and_status_knows_it(lab: Lab) -> None:
    shown = lab.good("up", "--detach", "--port", "0", "--workers", "3")
    status = lab.status
    for part in ("front", "backend"):
        assert f"pid {status[part]['pid']}" in shown
    assert status["url"].removeprefix("http://") in shown
    assert "lab swap" in shown
    assert status["backend"]["name"] == "fcgi-worker"
    assert len(status["backend"]["processes"]) == 1 + 3
    assert status["gateway"]["generation"] == 1
    assert "requests so far" in lab.good("status")
    assert lab.good("down") == "stopped gateway and fcgi-worker\n"
    assert lab.processes() == []
    assert not list(lab.folder.glob("*.sock"))
    assert lab.good("down") == "no chain was running\n"


def test_ctrl_c_leaves_nothing_behind(lab: Lab) -> None:
    with lab.start("up", "--port", "0") as process:
        wait_until(lambda: (lab.folder / "state.json").exists(), "the chain is up")
        assert lab.processes()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        shown, _ = process.communicate(timeout=30)
    assert process.returncode == 0, shown
    assert lab.processes() == []
    assert not list(lab.folder.glob("*.sock"))
    assert lab.run("status").returncode == 1


def test_a_part_that_dies_ends_the_chain_with_its_name(lab: Lab) -> None:
    with lab.start("up", "--port", "0") as process:
        wait_until(lambda: (lab.folder / "state.json").exists(), "the chain is up")
        state = json.loads((lab.folder / "state.json").read_text())
        os.kill(state["front"]["pid"], signal.SIGKILL)
        shown, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert re.search(r"gateway \(pid \d+\) exited", shown)
    wait_until(lambda: lab.processes() == [], "nothing is left")


def test_down_elsewhere_ends_a_chain_in_the_foreground(lab: Lab) -> None:
    with lab.start("up", "--port", "0") as process:
        wait_until(lambda: (lab.folder / "state.json").exists(), "the chain is up")
        assert "stopped gateway" in lab.good("down")
        process.communicate(timeout=30)
    assert process.returncode == 0


def refused(lab: Lab, *arguments: str) -> str:
    done = lab.run(*arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_is_refused_says_why_and_what_helps(lab: Lab) -> None:
    assert "no chain is running; start one with `lab up`" in refused(lab, "swap", "wsgiref")
    assert "no chain is running" in refused(lab, "load")
    assert "choose from: fcgi-worker" in refused(lab, "up", "--backend", "apache")
    assert "choose from: gateway, nginx" in refused(lab, "up", "--front", "apache")
    assert lab.processes() == []


def test_a_busy_port_is_named_with_its_holder(lab: Lab) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        said = refused(lab, "up", "--detach", "--port", str(port))
    assert f"address in use by pid {os.getpid()}" in said
    assert lab.processes() == []


def test_a_swap_that_fails_leaves_the_old_back_end(lab: Lab) -> None:
    lab.up()
    before = lab.status["backend"]
    assert "no back end 'apache'" in refused(lab, "swap", "apache")
    assert lab.status["backend"]["pid"] == before["pid"]


def test_a_second_chain_in_the_same_folder_is_refused(lab: Lab) -> None:
    lab.up()
    assert "a chain is already running" in refused(lab, "up", "--detach", "--port", "0")


def test_a_broken_state_file_is_named(lab: Lab) -> None:
    (lab.folder / "state.json").write_text("{")
    assert "state.json is damaged; remove it" in refused(lab, "status")
    (lab.folder / "state.json").unlink()
