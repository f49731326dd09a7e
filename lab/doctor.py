"""Checks what the lab can use on this machine, and how to install what is missing."""

import ctypes.util
import importlib.metadata
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.chain.fronts import find_nginx
from lab.trace.agents import capture, strace
from servers.php.php_fpm import find_php_fpm

_APT = "sudo apt install "


@dataclass(frozen=True, slots=True)
class Finding:
    """One program, package or setting that the lab uses."""

    name: str
    found: str  # version, path or value; empty if missing
    use: str
    remedy: str
    needed: bool = False  # `lab up` and `lab demo` do not work without it


def examine() -> list[Finding]:
    """Check for everything that any part of the lab uses."""
    return [*_needed(), *_packages(), *_programs(), *_rights(), *_containers(), _descriptors()]


def _needed() -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    remedy = "install 3.11 or newer"
    found = [Finding("Python", version if good else "", "everything", remedy, needed=True)]
    for package, use in (("flup", "flup-fork, flup-thread"), ("locust", "lab load, lab demo")):
        remedy = f"pip install {package}"
        found.append(Finding(package, _version(package), use, remedy, needed=True))
    return found


def _packages() -> list[Finding]:
    pip = "pip install "
    packages = (
        ("uvloop", "uvloop", "back end uvloop", pip + "uvloop"),
        ("gunicorn", "gunicorn", "back end gunicorn", pip + "gunicorn"),
        ("uwsgi", "pyuwsgi", "back end uwsgi", pip + "pyuwsgi"),
        ("bjoern", "bjoern", "back end bjoern", f"{_APT}gcc libev-dev; {pip}bjoern"),
    )
    return [Finding(name, _version(package), use, how) for name, package, use, how in packages]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _programs() -> list[Finding]:
    programs = (
        ("nginx", find_nginx(), "front nginx, make bench", _APT + "nginx-light"),
        ("php-fpm", find_php_fpm(), "back end php-fpm, make bench", _APT + "php-fpm"),
        ("wrk", shutil.which("wrk"), "make bench", _APT + "wrk"),
        ("lighttpd", shutil.which("lighttpd"), "tests with a real peer", _APT + "lighttpd"),
        ("cgi-fcgi", shutil.which("cgi-fcgi"), "tests with a real peer", _APT + "libfcgi-bin"),
        ("gcc", shutil.which("gcc"), "c-extension, bjoern, tests", _APT + "gcc libfcgi-dev"),
        ("libfcgi", ctypes.util.find_library("fcgi"), "back end libfcgi", _APT + "libfcgi0ldbl"),
        ("go", shutil.which("go"), "back ends go, go-fcgi", _APT + "golang-go"),
        ("php", shutil.which("php"), "php-select, php-coroutine", _APT + "php-cli"),
        ("strace", shutil.which("strace"), "lab trace, lab explain", _APT + "strace"),
        ("tcpdump", shutil.which("tcpdump"), "lab tour S3", _APT + "tcpdump"),
        ("tshark", shutil.which("tshark"), "reading lab trace --pcap files", _APT + "tshark"),
        ("perf", shutil.which("perf"), "profiling by hand", _APT + "linux-perf"),
    )
    return [Finding(name, path or "", use, remedy) for name, path, use, remedy in programs]


def _rights() -> list[Finding]:
    rights = (("packet capture", capture.refusal()), ("strace -p", strace.refusal()))
    return [
        Finding(name, "" if refused else "allowed", "lab trace", refused[1] if refused else "")
        for name, refused in rights
    ]


def _containers() -> list[Finding]:
    use = "lab … --docker, docker compose up"
    engine = f"{_APT}docker.io; sudo systemctl start docker"
    compose = f"{_APT}docker-compose docker-buildx"
    commands = (
        ("docker engine", ("version", "--format", "{{.Server.Version}}"), engine),
        ("docker compose", ("compose", "version", "--short"), compose),
    )
    return [Finding(name, _docker(*command), use, remedy) for name, command, remedy in commands]


def _docker(*command: str) -> str:
    """Return the output of a docker command; "" if it fails or docker is not installed."""
    try:
        done = subprocess.run(
            ["docker", *command], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()


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
