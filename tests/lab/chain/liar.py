"""wsgiref with a wrong greeting: `python -m tests.lab.chain.liar --listen ADDRESS`."""

import sys

from servers.__main__ import main
from servers.app import routes
from servers.app.messages import Request, Response, text


def greet(_request: Request) -> Response:
    return text(200, "Hello, World!")


if __name__ == "__main__":
    routes.ROUTES["/hello"] = routes.ROUTES["/hello"]._replace(handler=greet)
    main(["wsgiref", *sys.argv[1:]])
