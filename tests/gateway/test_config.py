"""The configuration: every field is read, every mistake names line, field and remedy."""

import random
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainlab.transport import Address
from chainlab.transport.table import ConfigError
from chainlab.wire.http1 import Limits
from gateway.config import (
    Config,
    Log,
    Route,
    Timeouts,
    Upstream,
    parse_config,
    read_config,
    simple_config,
)

WHOLE = """\
listen = ["127.0.0.1:8080", "unix:/run/gateway.sock", "[::1]:8081"]
workers = 3
status_path = "/-/gateway"
server_timing = true
traceparent = true

[upstream.app]
protocol = "fastcgi"
addresses = ["unix:/run/app.sock", "127.0.0.1:9000"]
balance = "least-connections"
connections = 7
queue = 9
params = { SCRIPT_FILENAME = "/srv/index.php", X = "" }
request_buffering = false
response_buffering = false

[upstream.other]
protocol = "http"
addresses = ["127.0.0.1:9001"]

[[route]]
prefix = "/"
upstream = "app"

[[route]]
prefix = "/static/"
root = "ROOT"

[[route]]
prefix = "/other"
upstream = "other"

[timeouts]
connect = 1
queue = 2
send = 3.5
read = 4
idle = 5
header = 6
body = 7
grace = 8

[limits]
request_line = 1000
header_block = 2000
fields = 10
chunk_line = 100
trailer_block = 200
body = 4096
connections = 500
spool_response = 5000
spool = 6000

[log]
access = "/var/log/access"
format = "json"
error = "/var/log/error"
"""


def test_every_field_is_read(tmp_path: Path) -> None:
    config = parse_config(WHOLE.replace("ROOT", str(tmp_path)), "g.toml")
    fastcgi = Upstream(
        name="app",
        protocol="fastcgi",
        addresses=(Address(path="/run/app.sock"), Address("127.0.0.1", 9000)),
        balance="least-connections",
        connections=7,
        queue=9,
        params=(("SCRIPT_FILENAME", "/srv/index.php"), ("X", "")),
        request_buffering=False,
        response_buffering=False,
    )
    http = Upstream("other", "http", (Address("127.0.0.1", 9001),))
    assert config == Config(
        listen=(
            Address("127.0.0.1", 8080),
            Address(path="/run/gateway.sock"),
            Address("::1", 8081),
        ),
        routes=(
            Route("/static/", root=tmp_path),
            Route("/other", upstream="other"),
            Route("/", upstream="app"),
        ),
        upstreams={"app": fastcgi, "other": http},
        workers=3,
        status_path="/-/gateway",
        server_timing=True,
        traceparent=True,
        timeouts=Timeouts(1, 2, 3.5, 4, 5, 6, 7, 8),
        limits=Limits(1000, 2000, 10, 100, 200, 4096),
        connections=500,
        spool_response=5000,
        spool=6000,
        log=Log("/var/log/access", "json", "/var/log/error"),
    )


def test_what_is_left_out_has_its_default() -> None:
    config = parse_config(
        'listen = ["127.0.0.1:0"]\n[upstream.a]\nprotocol="http"\naddresses=["127.0.0.1:1"]\n', "g"
    )
    assert config.routes == (Route("/", upstream="a"),)
    assert config.timeouts == Timeouts()
    assert config.limits == Limits()
    assert (config.workers, config.status_path, config.log) == (1, "", Log())


def test_the_flags_make_the_same() -> None:
    listen, back = Address("127.0.0.1", 80), Address(path="/a")
    config = simple_config([listen], "fastcgi", [back], workers=2)
    assert config.upstreams["app"].addresses == (back,)
    assert config.routes == (Route("/", upstream="app"),)
    assert config.workers == 2


APP = '[upstream.app]\nprotocol = "fastcgi"\naddresses = ["unix:/a"]\n'
TOP = 'listen = ["127.0.0.1:80"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listen = [", "g.toml:1: not TOML: "),
        (APP, "g.toml:1: listen: no address; write a list"),
        ("listen = 80\n" + APP, "g.toml:1: listen: 80 is not a list"),
        ('listen = ["80"]\n' + APP, "g.toml:1: listen: '80': neither HOST:PORT nor unix:PATH"),
        (TOP, "g.toml:1: route: no route; add a [[route]]"),
        (TOP + "workers = 0\n" + APP, "g.toml:2: workers: 0 is out of range; write a number"),
        (TOP + 'workers = "2"\n' + APP, "g.toml:2: workers: '2' is not a whole number"),
        (TOP + "workers = true\n" + APP, "g.toml:2: workers: True is not a whole number"),
        (TOP + "worker = 2\n" + APP, "g.toml:2: worker: unknown field; did you mean workers?"),
        (TOP + 'status_path = "x"\n' + APP, "g.toml:2: status_path: 'x' is not a path; start it"),
        (TOP + "[upstream.app]\nprotocol = 'fcgi'\n",
         "g.toml:3: upstream.app.protocol: unknown value 'fcgi'; choose from: fastcgi, http"),
        (TOP + "[upstream.app]\nprotocol = 'http'\n",
         "g.toml:2: upstream.app.addresses: no address"),
        (TOP + APP + "balance = 'luck'\n", "g.toml:5: upstream.app.balance: unknown value 'luck'"),
        (TOP + APP + "params = { A = 1 }\n", "g.toml:5: upstream.app.params: 'A' is 1, not a str"),
        (TOP + "[upstream.app]\nprotocol = 'http'\naddresses = ['127.0.0.1:1']\nparams = {A='b'}",
         "g.toml:5: upstream.app.params: not allowed in an http upstream; remove"),
        (TOP + APP + "[[route]]\nprefix = 'x'\nupstream = 'app'\n",
         "g.toml:6: route.prefix: 'x' is not a path; start it with a slash"),
        (TOP + APP + "[[route]]\nprefix = '/'\n", "g.toml:5: route: a route needs exactly one"),
        (TOP + APP + "[[route]]\nupstream = 'app'\n[[route]]\nprefix = '/b'\nupstream = 'bpp'\n",
         "g.toml:9: route.upstream: unknown upstream 'bpp'; declared upstreams: app"),
        (TOP + APP + "[[route]]\nupstream = 'app'\n[[route]]\nupstream = 'app'\n",
         "g.toml:7: route.prefix: '/' already has a route"),
        (TOP + APP + "[[route]]\nroot = '/no/such/folder'\n",
         "g.toml:6: route.root: '/no/such/folder' is not a folder; create it"),
        (TOP + APP + "[timeouts]\nread = 0\n", "g.toml:6: timeouts.read: 0 is out of range"),
        (TOP + APP + "[timeouts]\nreed = 1\n",
         "g.toml:6: timeouts.reed: unknown field; did you mean read?"),
        (TOP + APP + "[limits]\nfields = -1\n", "g.toml:6: limits.fields: -1 is out of range"),
        (TOP + "server_timing = 1\n" + APP,
         "g.toml:2: server_timing: 1 is neither true nor false; write true or false"),
        (TOP + APP + "[log]\nformat = 'xml'\n",
         "g.toml:6: log.format: unknown value 'xml'; choose from: combined, json"),
        (TOP + APP.replace("unix:/a", "no.such.host.invalid:80"),
         "g.toml:4: upstream.app.addresses: unknown host 'no.such.host.invalid'"),
        (TOP + APP.replace("unix:/a", "a..b:80"),
         "g.toml:4: upstream.app.addresses: 'a..b:80': 'a..b' is not a host name"),
        (TOP + APP.replace("unix:/a", "x" * 64 + ":80"),
         f"g.toml:4: upstream.app.addresses: '{'x' * 64}:80': '{'x' * 64}' is not a host name"),
        (TOP + APP.replace("unix:/a", "unix:/a\\u0000b"),
         "g.toml:4: upstream.app.addresses: 'unix:/a\\x00b' has a control character in it; remove"),
        (TOP + APP.replace("unix:/a", "unix:/run/*/a"),
         "g.toml:4: upstream.app.addresses: unix:/run/*/a: a * in a folder's name; name"),
        (TOP + APP.replace("unix:/a", "a:" + "9" * 5000), "g.toml:4: upstream.app.addresses: 'a:9"),
        (TOP + APP.replace('"unix:/a"', "7"), "g.toml:4: upstream.app.addresses: 7 is not a str"),
        (TOP + APP + "[timeouts]\nread = 1" + "0" * 400,
         f"g.toml:6: timeouts.read: 1{'0' * 56}... is out of range"),
        (TOP + APP + "[timeouts]\nread = 0x1" + "0" * 9000,
         "g.toml:6: timeouts.read: an integer too long to print is out of range"),
        (TOP + APP + "\n[timeouts]\nread = 1" + "0" * 5000 + "\nsend = 1",
         "g.toml:7: not TOML: Exceeds the limit"),
        (TOP + APP + "[timeouts]\nread = nan\n", "g.toml:6: timeouts.read: nan is out of range"),
        (TOP + "x = 1\ny =\\\n" + "[" * 5000, "g.toml:3: not TOML: Invalid value"),
        (TOP + "x = 1\ny = " + "[" * 5000, "g.toml:3: not TOML: maximum recursion depth exceeded"),
        (TOP + APP + "[[route]]\nroot = '/" + "x" * 5000 + "'\n", "g.toml:6: route.root: '/xxx"),
        (TOP + APP + "[[route]]\nroot = \"/a\\u0000\"\n",
         "g.toml:6: route.root: '/a\\x00' has a control character in it; remove it"),
        (TOP + APP + "[log]\naccess = \"/a\\u0000\"\n", "g.toml:6: log.access: '/a\\x00' has a"),
        (TOP + "upstream = 3\n", "g.toml:2: upstream: 3 is not a table like [upstream]; write a"),
        (TOP + "[upstream]\napp = 3\n", "g.toml:3: upstream.app: 3 is not a table like [upst"),
        (TOP + APP + "[route]\nprefix = '/'\n", "g.toml:5: route: {'prefix': '/'} is not an array"),
        (TOP + "upstream.'a.b'.protocol = 'x'\n", "g.toml:2: upstream.a.b.protocol: unknown value"),
        (TOP + APP + '[upstream."a.b"]\nprotocol = 1\n', "g.toml:6: upstream.a.b.protocol: 1 is"),
        (TOP + "upstream = { app = { protocol = 'x' } }\n", "g.toml:2: upstream.app.protocol: unk"),
        (TOP + "trusted = ['10.0.0.1/8', 'x']\n" + APP, "g.toml:2: trusted: '10.0.0.1/8' is not a"),
        (TOP + "trusted = 'unix'\n" + APP, "g.toml:2: trusted: 'unix' is not a list like ["),
        (TOP + "status_allow = [1]\n" + APP, "g.toml:2: status_allow: 1 is not a string; write a"),
        (TOP + APP + "[[route]]\nupstream = 'app'\nbody = -1\n", "g.toml:7: route.body: -1 is out"),
        (TOP + APP + "[[route]]\nupstream = 'app'\ntimeouts = { idle = 1 }\n",
         "g.toml:7: route.timeouts.idle: unknown field; known fields: send, read, body"),
        (TOP + APP + "[[route]]\nupstream = 'app'\n[route.timeouts]\nread = 0\n",
         "g.toml:8: route.timeouts.read: 0 is out of range"),
        (TOP + APP + "[[route]]\nroot = '/'\nbody = 1\n",
         "g.toml:7: route.body: not allowed in a route to a folder; remove it"),
        ("listen = [" + '"127.0.0.1:1",' * 101 + "]\n" + APP, "g.toml:1: listen: 101 addresses; "),
        ("listen = ['[a]:1', '[]:1', 'http://a:80']\n" + APP,
         "g.toml:1: listen: '[]:1': '' is not an IPv6 address; correct it"),
    ],
)  # fmt: skip
def test_a_mistake_names_line_field_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "g.toml")
    assert any(mistake.startswith(message) for mistake in caught.value.mistakes), caught.value


def test_every_mistake_is_reported_at_once() -> None:
    text = (
        "listen = ['80', 'a..b:80']\nworkers = 'two'\nstatus_path = 3\noops = 1\n"
        "[upstream.app]\nprotocol = 'fcgi'\naddresses = []\n"
        "[[route]]\nupstream = 'bpp'\n[[route]]\nroot = 1\nprefix = 'x'\n"
        "[timeouts]\nread = 0\nreed = 1\n[log]\nformat = 'xml'\n"
    )
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "g")
    found = [re.match(r"g:(\d+): ([\w.]+): ", mistake) for mistake in caught.value.mistakes]
    assert [(int(match[1]), match[2]) for match in found if match] == [
        (1, "listen"), (1, "listen"), (2, "workers"), (3, "status_path"), (4, "oops"),
        (6, "upstream.app.protocol"), (7, "upstream.app.addresses"), (9, "route.upstream"),
        (11, "route.root"), (12, "route.prefix"), (14, "timeouts.read"), (15, "timeouts.reed"),
        (17, "log.format"),
    ]  # fmt: skip


VALUES = (
    "0", "-1", "1" + "0" * 400, "1" + "0" * 5000, "0x" + "f" * 5000, "1e999", "nan", "-inf", "true",
    '""', '"a..b:80"', '"[::1]:1"', '"unix:"', '"unix:/\\u0000"', '"\\uFFFF:80"', "'é:1'", "[]",
    "[[]]", "{}", "{ a = 1 }", "1979-05-27", "07:32:00", "[" * 2000, '"' + "x" * 70 + ':1"', "[1]",
    "['*:1']", "'unix:/*/x'", "'/' ", '"\\n"', "[{}]", '"""\n"""',
)  # fmt: skip


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**64), noise=st.text(max_size=3))
def test_whatever_the_text_it_is_a_configuration_or_a_list_of_mistakes(
    monkeypatch: pytest.MonkeyPatch, seed: int, noise: str
) -> None:
    def answer(host: str, *_: object, **__: object) -> list[Any]:
        host.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    text = mutate(WHOLE.replace("ROOT", "/"), random.Random(seed), noise)
    for mistake in mistakes_in(text):
        match = re.match(r"g\.toml:(\d+): [^\n]+; [^\n]+\Z", mistake)
        assert match, mistake
        assert 1 <= int(match[1]) <= text.count("\n") + 1


def mistakes_in(text: str) -> tuple[str, ...]:
    try:
        parse_config(text, "g.toml")
    except ConfigError as error:
        return error.mistakes
    return ()


def mutate(text: str, chance: random.Random, noise: str) -> str:
    """Change one to four lines of a configuration: a key, a value, a character, an order."""
    lines = text.split("\n")
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines))
        key, equals, _ = lines[at].partition(" = ")
        kind = chance.randrange(6)
        if kind < 3 and equals:
            lines[at] = f"{key} = {chance.choice(VALUES)}"
        elif kind == 3:
            lines.insert(chance.randrange(len(lines)), lines.pop(at))
        elif kind == 4:
            lines[at] = chance.choice(("[", "", '"', "x.")) + lines[at]
        else:
            cut = chance.randint(0, len(lines[at]))
            lines[at] = lines[at][:cut] + noise + lines[at][cut + chance.randint(0, 2) :]
    return "\n".join(lines)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; name a readable file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8; save it as UTF-8"):
        read_config(tmp_path / "latin.toml")
