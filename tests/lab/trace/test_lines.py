"""strace's lines, as it wrote them: whole calls, calls in two halves, signals, ends."""

import pytest

from lab.trace.arguments import content, descriptor, readable, split
from lab.trace.model import Call, Note
from lab.trace.strace_lines import Note as RawNote
from lab.trace.strace_lines import RawCall, parse
from lab.trace.syscalls import complete_ends, understand

PATH = "".join(f"\\x{byte:02x}" for byte in b"/run/backend.sock")
HELLO = "".join(f"\\x{byte:02x}" for byte in b"hello, reader of traces!!!!")
POLLING = "<\\x61\\x6e\\x6f\\x6e\\x5f\\x69\\x6e\\x6f\\x64\\x65>"

LINES = rf"""
301 1795817738.000000000 restart_syscall(<... resuming interrupted read ...> <unfinished ...>
302 1795817738.000000100 epoll_wait(4{POLLING},  <unfinished ...>
303 1795817738.010700164 connect(10<UNIX-STREAM:[47133]>, {{sa_family=AF_UNIX, sun_path="{PATH}"}}, 28 <unfinished ...>
302 1795817738.010763668 <... epoll_wait resumed>[{{events=EPOLLIN, data={{u32=3, u64=3}}}}], 1, 1000) = 1 <0.010751478>
303 1795817738.010779502 <... connect resumed>) = 0 <0.000046819>
302 1795817738.010828374 accept4(3<UNIX-STREAM:[44901,"{PATH}"]>, {{sa_family=AF_UNIX}}, [110 => 2], SOCK_CLOEXEC) = 6<UNIX-STREAM:[47138->47133,"{PATH}"]> <0.000012378>
302 1795817738.010900000 read(6<UNIX-STREAM:[47138->47133,"{PATH}"]>, 0x55d7e0885c50, 16384) = -1 EAGAIN (Resource temporarily unavailable) <0.000009485>
303 1795817738.011000000 writev(10<UNIX-STREAM:[47133->47138]>, [{{iov_base="{HELLO}", iov_len=27}}, {{iov_base="\x0a", iov_len=1}}], 2) = 28 <0.000030000>
302 1795817738.011100000 read(6<UNIX-STREAM:[47138->47133,"{PATH}"]>, "{HELLO}\x0a", 16384) = 28 <0.000010225>
301 1795817738.011200000 <... restart_syscall resumed>) = ? ERESTART_RESTARTBLOCK (Interrupted by signal) <0.011200000>
301 1795817738.011300000 --- SIGTERM {{si_signo=SIGTERM, si_code=SI_USER, si_pid=1, si_uid=0}} ---
304 1795817738.011310000 +++ killed by SIGKILL +++
301 1795817738.011400000 exit_group(0)     = ?
301 1795817738.011500000 +++ exited with 0 +++
302 1795817738.011600000 epoll_wait(4{POLLING},  <detached ...>
strace: Process 302 detached
"""  # noqa: E501 - so they are


@pytest.fixture(scope="module")
def parsed() -> list[RawCall | RawNote]:
    return list(parse(LINES.splitlines()))


def named(found: list[RawCall | RawNote], name: str) -> list[RawCall]:
    return [each for each in found if isinstance(each, RawCall) and each.name == name]


def test_a_call_in_two_halves_is_one(parsed: list[RawCall | RawNote]) -> None:
    wait = named(parsed, "epoll_wait")[0]
    assert wait.start == 1795817738_000000100
    assert wait.end == 1795817738_010763668
    assert wait.result == "1"
    assert split(wait.arguments)[1:] == ["[{events=EPOLLIN, data={u32=3, u64=3}}]", "1", "1000"]
    (connect,) = named(parsed, "connect")
    assert (connect.result, connect.end) == ("0", 1795817738_010779502)
    assert len(split(connect.arguments)) == 3


def test_halves_of_two_threads_do_not_mix(parsed: list[RawCall | RawNote]) -> None:
    assert [call.tid for call in parsed if isinstance(call, RawCall)] == [
        301, 302, 303, 302, 302, 303, 302, 301, 302,
    ]  # fmt: skip


def test_a_whole_call_ends_after_its_duration(parsed: list[RawCall | RawNote]) -> None:
    (accept,) = named(parsed, "accept4")
    assert accept.end is not None
    assert accept.end - accept.start == 12_378
    assert accept.latest == 1795817738_010900000


def test_what_never_came_back_has_no_end(parsed: list[RawCall | RawNote]) -> None:
    last = named(parsed, "epoll_wait")[-1]
    assert (last.end, last.latest, last.result) == (None, None, "")


def test_signals_and_ends(parsed: list[RawCall | RawNote]) -> None:
    notes = [(note.tid, note.text) for note in parsed if isinstance(note, RawNote)]
    assert notes == [(301, "SIGTERM"), (304, "killed by SIGKILL"), (301, "exited with 0")]
    (ended,) = named(parsed, "exit_group")
    assert ended.result == "?"


@pytest.fixture
def understood(parsed: list[RawCall | RawNote]) -> tuple[list[Call], list[Note]]:
    calls, notes = understand("backend", parsed)
    complete_ends(calls)
    return calls, notes


def test_the_bytes_that_a_call_moved(understood: tuple[list[Call], list[Note]]) -> None:
    moved = {(call.name, call.data) for call in understood[0] if call.data}
    assert moved == {
        ("writev", b"hello, reader of traces!!!!\n"),
        ("read", b"hello, reader of traces!!!!\n"),
    }


def test_both_ends_of_a_socket_are_known_before_it_is_connected(
    understood: tuple[list[Call], list[Note]],
) -> None:
    (connect,) = [call for call in understood[0] if call.name == "connect"]
    assert (connect.local, connect.remote) == ("unix:47133", "unix:47138")
    (accept,) = [call for call in understood[0] if call.name == "accept4"]
    assert (accept.local, accept.remote) == ("unix:47138", "unix:47133")


def test_arguments_for_a_reader(parsed: list[RawCall | RawNote]) -> None:
    (written,) = named(parsed, "writev")
    assert readable(written.arguments).startswith('10, [{iov_base="hello, reader of traces!"…')
    assert readable("AT_FDCWD<\\x2f\\x74>, 3<\\x2f>(deleted), 5") == "AT_FDCWD, 3, 5"


def test_what_strace_left_out_is_zeros() -> None:
    assert content('"\\x61\\x62"...', 5) == b"ab\0\0\0"
    assert content("", 3) == b"\0\0\0"


@pytest.mark.parametrize(
    ("text", "local", "remote"),
    [
        ("9<TCP:[127.0.0.1:80->127.0.0.1:45198]>", "127.0.0.1:80", "127.0.0.1:45198"),
        ("9<TCPv6:[[::1]:80->[::1]:45198]>", "::1:80", "::1:45198"),
        ("9<TCPv6:[[::ffff:10.0.0.1]:80->[::ffff:10.0.0.2]:9]>", "10.0.0.1:80", "10.0.0.2:9"),
        ("9<UNIX-STREAM:[12->0]>", "unix:12", ""),
        ("9<TCP:[4711]>", "", ""),
        ("9<socket:[4711]>", "unix:4711", ""),
        ("9<pipe:[4711]>", "", ""),
    ],
)
def test_what_a_descriptor_leads_to(text: str, local: str, remote: str) -> None:
    found = descriptor(text)
    assert found is not None
    assert (found.number, found.local, found.remote) == (9, local, remote)
