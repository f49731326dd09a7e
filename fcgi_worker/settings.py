"""The settings of one worker manager, validated once and immutable."""

from dataclasses import dataclass

from chainlab.transport import Address
from chainlab.transport.networks import NOBODY, Networks
from chainlab.transport.socket_file import SocketFile


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `fcgi-worker`; times in seconds, 0 for no limit."""

    application: str  # "module:callable" or "module:factory()"
    bind: Address
    workers: int = 4  # children, each running one request at a time
    connections: int = 4096  # maximum kept; the descriptor limit may lower it
    read_timeout: float = 60.0  # between two reads of a request
    write_timeout: float = 60.0  # while a web server accepts no bytes of the response
    idle_timeout: float = 600.0  # for a kept connection without a request
    request_timeout: float = 0.0  # for a whole request; then its child is killed
    max_requests: int = 0  # per child; then it is replaced
    max_requests_jitter: int = 0  # a random number up to this is added, per child
    max_memory: int = 0  # resident bytes per child; then it is replaced
    grace: float = 30.0  # for running requests after SIGQUIT or SIGHUP; then SIGKILL
    socket_file: SocketFile | None = None  # mode and owner of a unix socket
    script_name: str = ""  # the path under which the web server mounts the application
    trusted: Networks = NOBODY  # front ends whose X-Forwarded-* fields are believed
    web_servers: Networks = NOBODY  # that may connect over TCP; if empty, all may
    server_timing: bool = False  # add Server-Timing to responses
    access_log: str = "off"  # or "-" for stdout, or a path
