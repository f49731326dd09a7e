import logging
from types import ModuleType
from typing import final

@final
class Loop:
    def __new__(
        cls,
        application: ModuleType,
        log: logging.Logger,
        *,
        connections: int,
        patience: float,
        idle: float,
    ) -> Loop: ...
    @property
    def connections(self) -> int: ...
    def run(self, listener: int, *, grace: float) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...
