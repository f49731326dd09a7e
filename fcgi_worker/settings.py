"""The settings of one worker manager, validated once and immutable."""

from dataclasses import dataclass

from chainlab.transport import Address


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `fcgi-worker`; times in seconds."""

    application: str  # "module:callable"
    bind: Address
    workers: int = 4  # children, each running one request at a time
    connections: int = 4096  # maximum kept; the descriptor limit may lower it
    read_timeout: float = 60.0  # between two reads of a request
    write_timeout: float = 60.0  # while a web server accepts no bytes of the response
    grace: float = 30.0  # for running requests after SIGQUIT; then SIGKILL
    server_timing: bool = False  # add Server-Timing to responses
    access_log: str = "off"  # or "-" for stdout, or a path
