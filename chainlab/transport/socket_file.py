"""The mode and the owner of a unix socket's file, set before the socket takes connections.

Without them the file gets its mode from the umask and its owner from the process, and a web server
of another user is refused: connecting needs write permission (unix(7)).
"""

import grp
import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SocketFile:
    """What to set; -1 leaves a value as it is."""

    mode: int = -1
    user: int = -1
    group: int = -1

    def apply(self, path: str) -> None:
        """Set owner and mode; raises OSError."""
        if self.user != -1 or self.group != -1:
            os.chown(path, self.user, self.group)
        if self.mode != -1:
            os.chmod(path, self.mode)  # noqa: PTH101 - beside chown, which Path lacks


def parse_mode(text: str) -> int:
    """Return the mode written as octal digits; raises ValueError with the remedy."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError(f"{text!r} is not a mode; write octal digits, for example 0660")
    return mode


def parse_owner(text: str) -> tuple[int, int]:
    """Return the ids of `USER`, `USER:GROUP` or `:GROUP`, names or numbers; -1 if not given.

    Raises ValueError with the remedy.
    """
    user, _, group = text.partition(":")
    if not user and not group:
        raise ValueError(f"{text!r} names nobody; write USER, USER:GROUP or :GROUP")
    try:
        uid = -1 if not user else int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"no user {user!r}; `getent passwd` lists them") from None
    try:
        gid = -1 if not group else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"no group {group!r}; `getent group` lists them") from None
    return uid, gid
