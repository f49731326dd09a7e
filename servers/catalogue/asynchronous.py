"""To be filled."""

from typing import Final

from servers.spec import Spec

SPECS: Final[tuple[Spec, ...]] = ()
