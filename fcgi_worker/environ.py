"""The WSGI environment (PEP 3333) from the CGI parameters of a request (RFC 3875)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from wsgiref.util import FileWrapper

from fcgi_worker.settings import Settings

if TYPE_CHECKING:  # the module is there for type checkers only
    from _typeshed.wsgi import WSGIEnvironment

_ENVIRON: Final[dict[str, object]] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.0",
    "wsgi.version": (1, 0),
    "fcgi_worker.server": "fcgi-worker",  # SERVER_SOFTWARE names the front end
    "wsgi.url_scheme": "http",
    "wsgi.multithread": False,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "wsgi.file_wrapper": FileWrapper,
    "wsgi.input_terminated": True,  # reading stops at the end of the body
}


def make_environ(params: Mapping[str, str], settings: Settings) -> "WSGIEnvironment":
    """Return the environment, all but the streams."""
    environ: WSGIEnvironment = {**_ENVIRON, **params}
    # It would redirect the application's own requests (httpoxy).
    environ.pop("HTTP_PROXY", None)
    # The web server has removed the coding: what arrives is the content (RFC 3875 section 4.1.2).
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    if "PATH_INFO" not in environ or settings.script_name:
        _split_path(environ, settings.script_name)
    if environ.get("REQUEST_SCHEME") == "https" or environ.get("HTTPS") in ("on", "1"):
        environ["wsgi.url_scheme"] = "https"
    return environ


def _split_path(environ: "WSGIEnvironment", mount: str) -> None:
    """Divide the path between SCRIPT_NAME, the application's, and PATH_INFO (section 4.1.13)."""
    script, info = environ["SCRIPT_NAME"], environ.get("PATH_INFO")
    if not mount:
        # Without PATH_INFO the whole path is the application's own, for example /app under Apache.
        # But nginx's stock fastcgi_params know no PATH_INFO: SCRIPT_NAME is every request's path.
        by_nginx = environ.get("SERVER_SOFTWARE", "").startswith("nginx")
        if by_nginx and environ.get("DOCUMENT_URI") == script:
            script, info = "", script
    elif script != mount:
        path = script + (info or "")
        if path == mount or path.startswith(mount + "/"):
            path = path[len(mount) :]
        script, info = mount, path  # otherwise the web server has removed the mount's path itself
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = script, info or ""
