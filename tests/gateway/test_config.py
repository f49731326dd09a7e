"""The configuration: every field is read, every mistake names line, field and remedy."""

from pathlib import Path

import pytest

from chainlab.transport import Address
from chainlab.wire.http1 import Limits
from gateway.config import (
    Config,
    ConfigError,
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
        (TOP + APP + "params = { A = 1 }\n", "g.toml:5: upstream.app.params: A is 1, not a str"),
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
        (TOP + APP + "[timeouts]\nread = 0\n", "g.toml:6: timeouts.read: 0.0 is out of range"),
        (TOP + APP + "[timeouts]\nreed = 1\n",
         "g.toml:6: timeouts.reed: unknown field; did you mean read?"),
        (TOP + APP + "[limits]\nfields = -1\n", "g.toml:6: limits.fields: -1 is out of range"),
        (TOP + "server_timing = 1\n" + APP,
         "g.toml:2: server_timing: 1 is neither true nor false; write true or false"),
        (TOP + APP + "[log]\nformat = 'xml'\n",
         "g.toml:6: log.format: unknown value 'xml'; choose from: combined, json"),
        (TOP + APP.replace("unix:/a", "no.such.host.invalid:80"),
         "g.toml:4: upstream.app.addresses: unknown host 'no.such.host.invalid'"),
    ],
)  # fmt: skip
def test_a_mistake_names_line_field_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "g.toml")
    assert str(caught.value).startswith(message)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; name a readable file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8; save it as UTF-8"):
        read_config(tmp_path / "latin.toml")
