"""The settings of one worker manager, validated once and immutable."""

from dataclasses import dataclass

from chainlab.transport import Address


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `fcgi-worker`; times in seconds."""

    application: str  # "module:callable"
    bind: Address
    workers: int = 4  # children, each running one request at a time
    connections: int = 4096  # kept connections at most; the descriptor limit may lower it
    read_timeout: float = 60.0  # between two reads of one request
    write_timeout: float = 60.0  # for a web server that does not take the answer
    grace: float = 30.0  # what SIGQUIT gives running requests
    server_timing: bool = False  # tell in each answer's head where its time went
    access_log: str = "off"  # or "-" for stdout, or a path
