"""libfcgi's FCGX_* functions through ctypes (fcgiapp.h): library, request, STDIN as a file.

No compiler or headers are needed: the interface behind the soname libfcgi.so.0 has not changed in
twenty years. The GIL is released during each call.
"""

import ctypes
import io
from typing import Any, Final

_LIBRARY: Final = "libfcgi.so.0"


class Request(ctypes.Structure):
    """FCGXRequest of fcgiapp.h."""

    _fields_ = (
        ("requestId", ctypes.c_int),
        ("role", ctypes.c_int),
        ("input", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("errors", ctypes.c_void_p),
        ("envp", ctypes.POINTER(ctypes.c_char_p)),
        ("paramsPtr", ctypes.c_void_p),
        ("ipcFd", ctypes.c_int),
        ("isBeginProcessed", ctypes.c_int),
        ("keepConnection", ctypes.c_int),
        ("appStatus", ctypes.c_int),
        ("nWriters", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("listen_sock", ctypes.c_int),
        ("detached", ctypes.c_int),
    )


def load() -> Any:
    """Return the initialised library; OSError if it is not installed."""
    library: Any = ctypes.CDLL(_LIBRARY)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    library.FCGX_InitRequest.argtypes = [pointer, number, number]
    library.FCGX_GetStr.argtypes = library.FCGX_PutStr.argtypes = [pointer, number, pointer]
    for name in ("Accept_r", "Finish_r", "FFlush", "GetError"):
        getattr(library, "FCGX_" + name).argtypes = [pointer]
    library.FCGX_Free.argtypes = [pointer, number]
    library.FCGX_Init()
    return library


class Content(io.RawIOBase):
    """A request's STDIN; ConnectionAbortedError if it breaks off."""

    def __init__(self, library: Any, stream: int) -> None:
        self._library = library
        self._stream = stream

    def readable(self) -> bool:
        """Whether read works: always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # always a memoryview
        """Fill `buffer`; less only at the end."""
        place = ctypes.byref(ctypes.c_char.from_buffer(buffer))
        count: int = self._library.FCGX_GetStr(place, len(buffer), self._stream)
        if count < len(buffer) and self._library.FCGX_GetError(self._stream):
            raise ConnectionAbortedError("the content broke off")
        return count
