"""Finds the application that a worker serves: `module:callable` or `module:factory(arguments)`."""

import ast
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import WSGIApplication


class ApplicationError(Exception):
    """The application cannot be loaded; the message says why."""


def load_application(name: str) -> "WSGIApplication":
    """Import the application, the current folder first, and return it.

    Dots are allowed on both sides: `package.module:object.attribute`. A factory is called once per
    child; its arguments are literals: `module:create_app("production", debug=False)`. Raises
    ApplicationError, and whatever the application's own code raises.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise ApplicationError(
            f"{name!r} is not module:callable, for example myproject.wsgi:application"
        )
    attributes, call = _parse(name, path)
    folder = str(Path.cwd())
    if sys.path[:1] != [folder]:  # before site-packages, so that the project wins
        sys.path.insert(0, folder)
    importlib.invalidate_caches()  # the master may have looked into the folders before a deployment
    found: object = importlib.import_module(module_name)
    for attribute in attributes:
        try:
            found = getattr(found, attribute)
        except AttributeError:
            dotted = ".".join(attributes)
            raise ApplicationError(f"module {module_name} has no {dotted!r}") from None
    if not callable(found):
        raise ApplicationError(f"{name} is not callable: its type is {type(found).__name__}")
    if call is None:
        return found
    arguments, keywords = call
    application: object = found(*arguments, **keywords)
    if not callable(application):
        kind = type(application).__name__
        raise ApplicationError(f"{name} returns no application but an object of type {kind}")
    return application


def _parse(name: str, path: str) -> tuple[list[str], tuple[list[object], dict[str, object]] | None]:
    """Split what follows the colon into attribute names and the arguments of a call, if any."""
    try:
        node = ast.parse(path, mode="eval").body
    except (SyntaxError, ValueError):
        raise ApplicationError(f"{name!r}: {path!r} is neither a name nor a call") from None
    call = None
    if isinstance(node, ast.Call):
        try:
            keywords = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg}
            call = [ast.literal_eval(argument) for argument in node.args], keywords
        except ValueError:
            call = None
        if call is None or len(call[1]) != len(node.keywords):
            raise ApplicationError(
                f'{name!r}: the arguments must be literals, for example create_app("production")'
            )
        node = node.func
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ApplicationError(f"{name!r}: {path!r} is neither a name nor a call")
    return [node.id, *attributes], call
