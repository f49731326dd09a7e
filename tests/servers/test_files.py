"""`/file/NAME`: what is sent, when it is not, and that nothing leads out of the folder."""

import os
import socket
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from servers.app import files
from servers.app.files import parse_date
from servers.app.messages import File
from tests.servers.support import ask, get, make_request

MTIME = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's own example
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
TAG = f'"{MTIME:x}-a"'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A public folder with ten bytes in it; at the end as many descriptors are open as before."""
    public = tmp_path / "public"
    public.mkdir()
    (public / "ten.txt").write_bytes(b"0123456789")
    os.utime(public / "ten.txt", (MTIME, MTIME))
    monkeypatch.setattr(files, "PUBLIC", public)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - descriptors, not files
    yield public
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_whole() -> None:
    status, headers, body = get("/file/ten.txt")
    assert (status, body) == (200, b"0123456789")
    assert headers == {
        "Content-Type": "text/plain",
        "Content-Length": "10",
        "Last-Modified": DATE,
        "ETag": TAG,
        "Accept-Ranges": "bytes",
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html"),
        ("a.b.PNG", "image/png"),
        ("a.svg", "image/svg+xml"),
        ("txt", "text/plain"),
        ("a.txt.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
        (".hidden", "application/octet-stream"),
    ],
)
def test_types(folder: Path, name: str, kind: str) -> None:
    (folder / name).write_bytes(b"x")
    assert get(f"/file/{name}")[1]["Content-Type"] == kind


def test_empty(folder: Path) -> None:
    (folder / "empty").touch()
    status, headers, body = get("/file/empty")
    assert (status, headers["Content-Length"], body) == (200, "0", b"")
    assert get("/file/empty", range="bytes=0-")[0] == 416
    assert get("/file/empty", range="bytes=-1")[0] == 416


def test_a_name_beyond_ascii(folder: Path) -> None:
    (folder / "na\xefve").write_bytes(b"x")
    latin = "na\xefve".encode().decode("latin-1")  # what a server makes of %C3%AF
    assert get(f"/file/{latin}")[0] == 200
    assert get("/file/\u20ac")[0] == 404


@pytest.mark.parametrize(
    "name",
    [
        ".", "..", "../secret", "../public/ten.txt", "./ten.txt", "ten.txt/", "/etc/passwd",
        "sub/inner", "ten.txt\0", "\0", "..\\secret", "nothing",
        pytest.param("a" * 300, id="too long"),
    ],
)  # fmt: skip
def test_no_way_out(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder / "sub").mkdir()
    (folder / "sub" / "inner").touch()
    status, headers, body = get(f"/file/{name}")
    assert (status, headers["Content-Type"]) == (404, "text/plain")
    assert body.startswith(b"no such file: ")


def test_only_regular_files(folder: Path) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "inner-link").symlink_to("ten.txt")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        for name in ("link", "inner-link", "folder", "fifo", "socket"):
            assert get(f"/file/{name}")[0] == 404, name


def test_out_of_descriptors_is_a_failure_and_no_404(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    assert get("/file/ten.txt")[0] == 500


@pytest.mark.parametrize(
    ("wanted", "span", "body"),
    [
        ("bytes=0-0", "bytes 0-0/10", b"0"),
        ("bytes=2-4", "bytes 2-4/10", b"234"),
        ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=7-100", "bytes 7-9/10", b"789"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=-100", "bytes 0-9/10", b"0123456789"),
        ("BYTES= 2-4 ", "bytes 2-4/10", b"234"),
        ("bytes=000000000000000000002-4", "bytes 2-4/10", b"234"),
        pytest.param(
            "bytes=2-" + "9" * 5000, "bytes 2-9/10", b"23456789", id="thousands of digits"
        ),
    ],
)
def test_range(wanted: str, span: str, body: bytes) -> None:
    status, headers, got = get("/file/ten.txt", range=wanted)
    assert (status, headers["Content-Range"], got) == (206, span, body)
    assert headers["Content-Length"] == str(len(body))
    assert headers["ETag"] == TAG


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=10-",
        "bytes=10-20",
        "bytes=-0",
        pytest.param("bytes=" + "9" * 5000 + "-", id="thousands of digits"),
    ],
)
def test_range_unsatisfiable(wanted: str) -> None:
    status, headers, body = get("/file/ten.txt", range=wanted)
    assert (status, headers["Content-Range"]) == (416, "bytes */10")
    assert body == b"the range begins beyond the file: it has 10 bytes\n"


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=0-1,3-4",
        "bytes=4-2",
        "bytes=-",
        "bytes=",
        "bytes",
        "lines=1-2",
        "bytes=a-b",
        "",
        "0-1",
    ],
)
def test_range_not_understood_is_the_whole(wanted: str) -> None:
    assert get("/file/ten.txt", range=wanted)[::2] == (200, b"0123456789")


def test_range_is_for_get() -> None:
    response, _ = ask(make_request("/file/ten.txt", "HEAD", headers={"range": "bytes=0-0"}))
    assert response.status == 200
    assert isinstance(response.body, File)
    response.close()


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (TAG, 206),
        (DATE, 206),
        ("W/" + TAG, 200),
        ('"other"', 200),
        (formatdate(MTIME + 1, usegmt=True), 200),
        (formatdate(MTIME - 1, usegmt=True), 200),
        ("rubbish", 200),
    ],
)
def test_if_range(condition: str, status: int) -> None:
    assert get("/file/ten.txt", range="bytes=0-0", if_range=condition)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_None_Match": TAG}, 304),
        ({"If_None_Match": f"W/{TAG}"}, 304),
        ({"If_None_Match": f'"a", "b,c" ,{TAG}'}, 304),
        ({"If_None_Match": " * "}, 304),
        ({"If_None_Match": '"other"'}, 200),
        ({"If_None_Match": TAG.strip('"')}, 200),
        ({"If_None_Match": ""}, 200),
        ({"If_Modified_Since": DATE}, 304),
        ({"If_Modified_Since": "Sunday, 06-Nov-94 08:49:37 GMT"}, 304),
        ({"If_Modified_Since": "Sun Nov  6 08:49:37 1994"}, 304),
        ({"If_Modified_Since": formatdate(MTIME - 1, usegmt=True)}, 200),
        ({"If_Modified_Since": "rubbish"}, 200),
        ({"If_None_Match": '"other"', "If_Modified_Since": DATE}, 200),
        ({"If_None_Match": TAG, "If_Modified_Since": formatdate(0, usegmt=True)}, 304),
        ({"If_None_Match": TAG, "Range": "bytes=0-0"}, 304),
        ({"If_None_Match": '"other"', "Range": "bytes=0-0"}, 206),
    ],
)
def test_not_modified(headers: dict[str, str], status: int) -> None:
    got, fields, body = get("/file/ten.txt", **headers)
    assert got == status
    if status == 304:
        assert (fields, body) == ({"Last-Modified": DATE, "ETag": TAG}, b"")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (DATE, MTIME),
        ("Sunday, 06-Nov-94 08:49:37 GMT", MTIME),
        ("Sun Nov  6 08:49:37 1994", MTIME),
        ("Sun Nov 16 08:49:37 1994", MTIME + 10 * 86400),
        ("Thursday, 01-Jan-70 00:00:00 GMT", 0),
        ("Monday, 01-Jan-35 00:00:00 GMT", 2051222400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        ("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800),
        ("Wed, 29 Feb 2023 00:00:00 GMT", None),
        ("Sun, 00 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nxv 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 24:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:60:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:61 GMT", None),
        ("Sun, 06 Nov 1969 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 UTC", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT ", None),
        ("", None),
    ],
)
def test_dates(value: str, seconds: int | None) -> None:
    assert parse_date(value) == seconds


def test_a_file_that_shrinks_while_it_is_sent(folder: Path) -> None:
    response, _ = ask(make_request("/file/ten.txt"))
    assert isinstance(response.body, File)
    assert response.body.read(4) == b"0123"
    os.truncate(folder / "ten.txt", 4)
    with pytest.raises(OSError, match="6 bytes short"):
        response.body.read()
    response.body.close()
    response.body.close()
