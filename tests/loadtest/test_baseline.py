"""The C baseline: built here, it answers each head once; without a compiler it says what helps."""

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

import pytest

from chainlab.transport import bind_listener, bound_address, parse_address
from loadtest import baseline
from tests.support.gateway import RawClient

REQUEST: Final = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
BODY: Final = b"Hello, world!\n"


def test_every_head_is_answered_once(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: run sudo apt install gcc")
    with bind_listener(parse_address("127.0.0.1:0")) as listener:
        fd = listener.fileno()
        with subprocess.Popen([baseline.build(tmp_path), str(fd)], pass_fds=[fd]) as program:
            try:
                with RawClient(bound_address(listener)) as client:
                    for byte in REQUEST:  # cut anywhere
                        client.send(bytes([byte]))
                    answer = client.read_until(BODY)
                    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                    client.send(REQUEST * 200 + b"\r\r\n\r\r\n\r\n\r")
                    client.socket.shutdown(socket.SHUT_WR)
                    assert client.read_to_end() == answer * 201
            finally:
                program.terminate()


def test_no_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(baseline.NoCompiler, match="install gcc"):
        baseline.build(tmp_path)
