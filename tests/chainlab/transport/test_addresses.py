"""Addresses as they are written, and who is told of whom when one is taken."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from chainlab.transport import (
    Address,
    AddressError,
    ListenError,
    bind_listener,
    bound_address,
    parse_address,
    remove_socket,
)
from chainlab.transport.socket_file import SocketFile


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)), ("[::1]:8080", Address("::1", 8080)),
        ("localhost:0", Address("localhost", 0)), ("unix:/run/a.sock", Address(path="/run/a.sock")),
        ("unix:/run/my app.sock", Address(path="/run/my app.sock")),
    ],
)  # fmt: skip
def test_an_address_is_read_and_written_alike(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("80", "neither HOST:PORT nor unix:PATH; write for example 127.0.0.1:9000"),
        (":80", "neither HOST:PORT nor unix:PATH"),
        ("a:http", "invalid port 'http'; write a number from 0 to 65535"),
        ("a:65536", "invalid port '65536'"),
        ("a:-1", "invalid port '-1'"),
        ("::1:80", "an IPv6 host needs brackets; write [::1]:80"),
        ("unix:", "no path after 'unix:'"),
        ("a:" + "1" * 5000, "invalid port"),
        ("a..b:80", "'a..b' is not a host name; write labels of 1 to 63"),
        ("http://a:80", "'http://a' is not a host name; write HOST:PORT, not a URL"),
        ("a\0:80", "a control character; remove it"),
        ("unix:/a\0b", "a control character; remove it"),
        ("[]:80", "'' is not an IPv6 address"),
        ("[localhost]:80", "'localhost' is not an IPv6 address"),
        ("unix:/" + "x" * 107, "the path has 108 bytes, a unix socket allows 107"),
    ],
)
def test_what_is_no_address(text: str, message: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert message in str(caught.value)


def test_port_0_is_any_port() -> None:
    with bind_listener(parse_address("127.0.0.1:0")) as listener:
        bound = bound_address(listener)
        assert bound.port > 0
        assert not listener.getblocking()
        with pytest.raises(ListenError, match="in use by another listener of this program"):
            bind_listener(bound)


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "s"))
    bind_listener(address).close()  # its file stays
    assert Path(address.path).is_socket()
    with bind_listener(address) as listener:
        remove_socket(listener)
    assert not Path(address.path).exists()


def test_a_live_unix_socket_is_not(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "s"))
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
        "print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, address.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ListenError, match=f"address in use by pid {holder.pid}"):
            bind_listener(address)
        holder.communicate()


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ListenError, match="not a socket; remove it or use another path"):
        bind_listener(Address(path=str(tmp_path / "s")))
    assert (tmp_path / "s").read_text() == "precious"


def test_a_socket_that_another_has_taken_over_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with bind_listener(Address(path=str(path))) as listener:
        path.unlink()
        program = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
            "s.listen(); print('up', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            remove_socket(listener)
            assert path.is_socket()
            other.communicate()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (Address(path="/no/such/folder/s"), "the folder does not exist; create it first"),
        (Address("192.0.2.1", 80), "not an address of this machine"),
        (Address("no.such.host.invalid", 80), "unknown host"),
    ],
)
def test_what_cannot_be_listened_on(address: Address, message: str) -> None:
    with pytest.raises(ListenError) as caught:
        bind_listener(address)
    assert message in str(caught.value)


@pytest.mark.skipif(os.getuid() != 0, reason="it needs another user's rights")
def test_a_socket_that_cannot_be_given_away_is_not_left_behind() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        path = Path(folder, "s")
        os.seteuid(65534)
        try:
            with pytest.raises(ListenError, match="cannot set the socket's mode and owner"):
                bind_listener(Address(path=str(path)), socket_file=SocketFile(user=0))
        finally:
            os.seteuid(0)
        assert not path.exists()


def test_an_ipv6_listener() -> None:
    try:
        with bind_listener(parse_address("[::1]:0")) as listener:
            assert listener.family == socket.AF_INET6
            assert str(bound_address(listener)).startswith("[::1]:")
    except ListenError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
