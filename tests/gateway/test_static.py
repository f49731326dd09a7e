"""Files served by a real gateway: sendfile to a slow reader, conditions, confinement."""

import os
import resource
from collections.abc import Iterator

import pytest

from chainlab.transport import Address
from tests.support.gateway import Gateway, RawClient, running_gateway
from tests.support.processes import child_pids, open_files, peak_kib, wait_until

BIG = bytes(range(256)) * 32768  # 8 MiB


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    base = tmp_path_factory.mktemp("files")
    root = base / "root"
    (root / "folder").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"0123456789")
    (root / "folder" / "index.html").write_bytes(b"<p>index</p>")
    (root / "empty").write_bytes(b"")
    (root / "big.bin").write_bytes(BIG)
    (root / "name with % é.txt").write_bytes(b"odd")
    (base / "secret").write_bytes(b"secret")
    (root / "out").symlink_to(base / "secret")
    (root / "in").symlink_to(root / "a.txt")
    (root / "loop").symlink_to(root / "loop")
    (root / "outfolder").symlink_to(base)
    os.mkfifo(root / "fifo")
    config = base / "g.toml"
    config.write_text(
        f'listen = ["127.0.0.1:0", "unix:{base}/g.sock"]\n[log]\naccess = "{base}/access.log"\n'
        f'[[route]]\nprefix = "/s/"\nroot = "{root}"\n'
    )
    with running_gateway("--config", str(config)) as found:
        yield found


@pytest.fixture
def client(files: Gateway) -> Iterator[RawClient]:
    with files.connect() as connection:
        yield connection


def test_a_file_and_its_fields(client: RawClient) -> None:
    head, body = client.ask("GET", "/s/a.txt")
    assert (head.status, body) == (200, b"0123456789")
    assert head.headers["Content-Type"] == "text/plain"
    assert head.headers["Accept-Ranges"] == "bytes"
    assert head.headers["ETag"].startswith('"')
    assert head.headers["Last-Modified"].endswith("GMT")
    head, body = client.ask("HEAD", "/s/a.txt")
    assert (head.headers["Content-Length"], body) == ("10", b"")


def test_conditions(client: RawClient) -> None:
    head, _ = client.ask("GET", "/s/a.txt")
    tag, date = head.headers["ETag"], head.headers["Last-Modified"]
    head, body = client.ask("GET", "/s/a.txt", If_None_Match=tag)
    assert (head.status, body, head.headers["ETag"]) == (304, b"", tag)
    assert client.ask("GET", "/s/a.txt", If_Modified_Since=date)[0].status == 304
    assert client.ask("GET", "/s/a.txt", Range="bytes=2-3", If_Range=tag)[1] == b"23"
    assert client.ask("GET", "/s/a.txt", Range="bytes=2-3", If_Range='"x"')[1] == b"0123456789"

    later = "Sat, 01 Jan 2000 00:00:00 GMT"
    head, body = client.ask("GET", "/s/a.txt", If_Unmodified_Since=later)
    assert (head.status, body) == (412, b"")
    assert client.ask("GET", "/s/a.txt", If_Match='"x"')[0].status == 412
    assert client.ask("GET", "/s/a.txt", If_Match=tag)[1] == b"0123456789"


def test_ranges(client: RawClient) -> None:
    head, body = client.ask("GET", "/s/a.txt", Range="bytes=0-")
    assert (head.status, body, head.headers["Content-Range"]) == (
        206, b"0123456789", "bytes 0-9/10",
    )  # fmt: skip
    assert client.ask("HEAD", "/s/a.txt", Range="bytes=0-1")[0].status == 200
    head, body = client.ask("GET", "/s/a.txt", Range="bytes=2-4")
    assert (head.status, body) == (206, b"234")
    assert head.headers["Content-Range"] == "bytes 2-4/10"
    assert client.ask("GET", "/s/a.txt", Range="bytes=-3")[1] == b"789"
    head, body = client.ask("GET", "/s/a.txt", Range="bytes=10-")
    assert (head.status, body, head.headers["Content-Range"]) == (416, b"", "bytes */10")


def test_an_empty_file_and_an_odd_name(client: RawClient) -> None:
    assert client.ask("GET", "/s/empty")[1] == b""
    assert client.ask("GET", "/s/name%20with%20%25%20%C3%A9.txt")[1] == b"odd"
    assert client.ask("GET", "/s/in")[1] == b"0123456789"


def test_folders(client: RawClient) -> None:
    assert client.ask("GET", "/s/folder/")[1] == b"<p>index</p>"
    head, _ = client.ask("GET", "/s/folder?q=1")
    assert (head.status, head.headers["Location"]) == (301, "/s/folder/?q=1")
    assert client.ask("GET", "/s/")[0].status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/s/../secret", "/s/folder/../../secret", "/s/%2e%2e/secret", "/s/..%2fsecret", "/s/out",
        "/s/outfolder/secret", "/s/loop", "/s/fifo", "/s/a.txt%00", "/s/none", "/s//etc/passwd",
        "/s/%2fetc%2fpasswd", "/none", "/s/a.txt/",
    ],
)  # fmt: skip
def test_there_is_no_way_out(client: RawClient, path: str) -> None:
    head, body = client.ask("GET", path)
    assert head.status in (400, 404)
    assert b"secret" not in body


def test_other_methods(client: RawClient) -> None:
    head, _ = client.ask("POST", "/s/a.txt", b"body")
    assert (head.status, head.headers["Allow"]) == (405, "GET, HEAD")
    assert client.ask("GET", "/s/a.txt")[1] == b"0123456789"  # the body was passed over


def test_a_big_file_to_a_slow_reader_costs_no_memory(files: Gateway) -> None:
    (serving,) = child_pids(files.process.pid)
    before = peak_kib(serving)
    with files.connect() as client, files.connect() as other:
        client.request("GET", "/s/big.bin")
        got = bytearray(client.read_until(b"\r\n\r\n"))
        assert other.ask("GET", "/s/a.txt")[1] == b"0123456789"  # meanwhile others are served
        start = got.index(b"\r\n\r\n") + 4
        while len(got) - start < len(BIG):
            got += client.socket.recv(1 << 20)
        assert got[start:] == BIG
        assert client.ask("GET", "/s/a.txt")[1] == b"0123456789"
    assert peak_kib(serving) - before < 2048


def test_a_reader_that_leaves_in_the_middle_leaks_nothing(files: Gateway) -> None:
    (serving,) = child_pids(files.process.pid)
    for _ in range(20):
        with files.connect() as client:
            client.request("GET", "/s/big.bin")
            client.socket.recv(1000)
    assert files.get("/s/a.txt")[1] == b"0123456789"
    wait_until(lambda: "big.bin" not in " ".join(open_files(serving)), "the file is closed")


def base_of(files: Gateway) -> str:
    """Return the folder of the gateway's unix listener, which it names second."""
    return files.process.stderr.split("listening on unix:")[1].split("/g.sock")[0]


def test_a_client_that_leaves_at_the_end_closes_no_strangers_descriptor(files: Gateway) -> None:
    """On a unix socket, the gateway notices at its last send that the client has gone."""
    for _ in range(30):
        with RawClient(Address(path=f"{base_of(files)}/g.sock")) as client:
            client.request("GET", "/s/a.txt")
            client.read_until(b"0123456789")
    assert files.get("/s/a.txt")[1] == b"0123456789"
    assert "bug" not in files.process.stderr


def test_a_file_that_the_machine_cannot_open_now_is_not_missing(files: Gateway) -> None:
    (serving,) = child_pids(files.process.pid)
    limits = resource.prlimit(serving, resource.RLIMIT_NOFILE)
    with files.connect() as client:
        assert client.ask("GET", "/s/a.txt")[0].status == 200
        resource.prlimit(serving, resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            head, _ = client.ask("GET", "/s/a.txt")
        finally:
            resource.prlimit(serving, resource.RLIMIT_NOFILE, limits)
        assert head.status == 503
        assert head.headers["Retry-After"]
        files.process.wait_for_stderr("static: /s/a.txt: Too many open files")
        assert client.ask("GET", "/s/a.txt")[0].status == 200
