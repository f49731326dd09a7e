"""Addresses and networks as click options; the only module here that imports click."""

import click

from chainlab.transport.address import Address, AddressError, parse_address
from chainlab.transport.networks import NetworkError, Networks


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


class NetworkType(click.ParamType[str]):
    """A network on the command line; `Networks.parse` takes all of them."""

    name = "network"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text; fail with a usage error if it is not a network."""
        try:
            Networks.parse([str(value)])
        except NetworkError as error:
            self.fail(str(error), param, ctx)
        return str(value)
