"""Options: what they do, and what a wrong one is told."""

import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainlab.transport import Address
from tests.fcgi_worker.conftest import APPS, ROOT
from tests.support.fastcgi import Client
from tests.support.processes import running_worker

APPLICATION = f"{APPS}:application"


def refusal(tmp_path: Path, *options: str, **environment: str) -> str:
    """Return what a worker that does not start says."""
    bind = () if "--bind" in options else ("--bind", f"unix:{tmp_path}/s")
    done = subprocess.run(
        [sys.executable, "-m", "fcgi_worker", APPLICATION, *bind, *options],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


# The socket's file


@pytest.mark.parametrize(("option", "mode"), [("0666", 0o666), ("600", 0o600), ("0", 0)])
def test_the_mode_of_the_socket(tmp_path: Path, option: str, mode: int) -> None:
    bind = f"unix:{tmp_path}/s"
    with running_worker(APPLICATION, "--socket-mode", option, bind=bind, cwd=ROOT):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_the_owner_of_the_socket(tmp_path: Path) -> None:
    user, group = pwd.getpwnam("nobody"), grp.getgrgid(pwd.getpwnam("nobody").pw_gid)
    bind, path = f"unix:{tmp_path}/s", tmp_path / "s"
    for option, uid, gid in (
        ("nobody", user.pw_uid, os.getgid()),
        (f"nobody:{group.gr_name}", user.pw_uid, group.gr_gid),
        (f":{group.gr_gid}", os.getuid(), group.gr_gid),
        ("12345:54321", 12345, 54321),
    ):
        with running_worker(APPLICATION, "--socket-owner", option, bind=bind, cwd=ROOT):
            assert (path.stat().st_uid, path.stat().st_gid) == (uid, gid)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--socket-mode", "rw-rw----"), "is not a mode; write octal digits, for example 0660"),
        (("--socket-mode", "1777"), "is not a mode"),
        (("--socket-owner", "no-such-user"), "no user 'no-such-user'; `getent passwd` lists them"),
        (("--socket-owner", "root:no-such-group"), "no group 'no-such-group'"),
        (("--socket-owner", ":"), "names nobody; write USER, USER:GROUP or :GROUP"),
        (("--socket-mode", "0660", "--bind", "127.0.0.1:0"), "need --bind unix:PATH"),
        (("--max-memory", "lots"), "'lots' is no size; write for example 200M"),
        (("--script-name", "shop"), "--script-name 'shop': write a path, for example /shop"),
    ],
)
def test_what_a_wrong_option_is_told(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    assert message in refusal(tmp_path, *options)


# Which application


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("create()", b"made None"),
        ("create('a name')", b"made a name"),
        ('factories.create(name="x" )', b"made x"),
        ("factories.made", b"made dotted"),
    ],
)
def test_an_application_from_a_factory(tmp_path: Path, name: str, body: bytes) -> None:
    bind = f"unix:{tmp_path}/s"
    with (
        running_worker(f"{APPS}:{name}", "--workers", "1", bind=bind, cwd=ROOT) as (_, address),
        Client(address) as client,
    ):
        assert client.request("/").body == body


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("create(", "'create(' is neither a name nor a call"),
        ("create()()", "is neither a name nor a call"),
        ("create(os.getcwd())", "the arguments must be literals"),
        ("create(**{})", "the arguments must be literals"),
        ("not_callable()", "is not callable: its type is int"),
        ("no_such_factory()", "has no 'no_such_factory'"),
        ("creates_nothing()", "returns no application but an object of type NoneType"),
        ("create(1, 2, 3)", "TypeError"),
    ],
)
def test_a_factory_that_cannot_be_had(tmp_path: Path, name: str, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fcgi_worker", f"{APPS}:{name}", "--bind", f"unix:{tmp_path}/s"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert message in done.stderr


# Where the application is mounted


@pytest.fixture(scope="module")
def mounted_at_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    bind = f"unix:{tmp_path_factory.mktemp('mounted')}/s"
    options = ("--workers", "1", "--script-name", "/shop/")
    application = f"{APPS}:show_environ"
    with running_worker(application, *options, bind=bind, cwd=ROOT) as (_, address):
        yield address


@pytest.fixture
def mounted(mounted_at_shop: Address) -> Iterator[Client]:
    with Client(mounted_at_shop) as client:
        yield client


@pytest.mark.parametrize(
    ("sent", "script", "info"),
    [
        ({"SCRIPT_NAME": "", "PATH_INFO": "/shop/a%20b"}, "/shop", "/a%20b"),  # nothing is split
        ({"SCRIPT_NAME": "/shop", "PATH_INFO": "/a"}, "/shop", "/a"),  # the web server has split
        ({"SCRIPT_NAME": "/shop/a"}, "/shop", "/a"),  # nginx's stock parameters
        ({"SCRIPT_NAME": "/shop"}, "/shop", ""),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/shop"}, "/shop", ""),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/shopping"}, "/shop", "/shopping"),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/a"}, "/shop", "/a"),  # the web server has removed it
    ],
)
def test_the_path_of_a_mounted_application(
    mounted: Client, sent: dict[str, str], script: str, info: str
) -> None:
    told = json.loads(mounted.request_raw(sent).body)
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == (script, info)


# Which web servers


@pytest.mark.parametrize("listed", ["127.0.0.2, ::1", "::1,127.0.0.1"])
def test_only_listed_web_servers_may_connect(monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    monkeypatch.setenv("FCGI_WEB_SERVER_ADDRS", listed)
    with (
        running_worker(APPLICATION, bind="127.0.0.1:0", cwd=ROOT) as (process, address),
        Client(address) as client,
    ):
        if "127.0.0.1" in listed:
            assert client.request("/hello").body == b"hello\n"
        else:
            assert client.closed_by_peer
            process.wait_for_stderr("127.0.0.1 is not in FCGI_WEB_SERVER_ADDRS")


def test_an_address_that_is_none(tmp_path: Path) -> None:
    said = refusal(tmp_path, FCGI_WEB_SERVER_ADDRS="10.0.0.1,web1")
    assert "FCGI_WEB_SERVER_ADDRS in the environment: 'web1' is not a network" in said
