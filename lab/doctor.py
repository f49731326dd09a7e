"""What this machine has and lacks for the lab, and the command that gets what it lacks."""

import importlib.metadata
import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.fronts import find_nginx
from servers.outside.php_fpm import find_php_fpm


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for."""

    name: str
    found: str  # empty: it lacks
    use: str
    remedy: str
    needed: bool = False  # the main job does not run without it


def examine() -> list[Finding]:
    """Look for everything that some part of the lab uses."""
    return [*_needed(), *_programs(), _descriptors()]


def _needed() -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    found = [Finding("Python", version if good else "", "everything", "install 3.11", needed=True)]
    for package, use in (("flup", "flup-fork, flup-thread"), ("locust", "lab load, lab demo")):
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed = ""
        remedy = f"pip install {package}"
        found.append(Finding(package, installed, use, remedy, needed=True))
    return found


def _programs() -> list[Finding]:
    apt = "sudo apt install "
    programs = (
        ("nginx", find_nginx(), "the front nginx, make bench", apt + "nginx-light"),
        ("php-fpm", find_php_fpm(), "the back end php-fpm, make bench", apt + "php-fpm"),
        ("wrk", shutil.which("wrk"), "make bench", apt + "wrk"),
        ("lighttpd", shutil.which("lighttpd"), "tests with a real peer", apt + "lighttpd"),
        ("cgi-fcgi", shutil.which("cgi-fcgi"), "tests with a real peer", apt + "libfcgi-bin"),
        ("gcc", shutil.which("gcc"), "tests with a libfcgi responder", apt + "gcc libfcgi-dev"),
    )
    return [Finding(name, path or "", use, remedy) for name, path, use, remedy in programs]


def _descriptors() -> Finding:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    somaxconn = Path("/proc/sys/net/core/somaxconn").read_text().strip()
    enough = soft >= 4096
    return Finding(
        "descriptors",
        f"{soft} (backlog {somaxconn})" if enough else "",
        "thousands of connections",
        f"ulimit -n 20000 (now {soft})",
    )
