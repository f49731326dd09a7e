"""An address as a click option; the only module here that imports click."""

import click

from chainlab.transport.address import Address, AddressError, parse_address


class AddressType(click.ParamType[Address]):
    """An address on the command line."""

    name = "address"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """Return the address; fail with a usage error if it is invalid."""
        try:
            return value if isinstance(value, Address) else parse_address(str(value))
        except AddressError as error:
            self.fail(str(error), param, ctx)
