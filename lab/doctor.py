"""What this machine has and lacks for the lab, and the command that gets what it lacks."""

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
    """One thing looked for."""

    name: str
    found: str  # empty: it lacks
    use: str
    remedy: str
    needed: bool = False  # the main job does not run without it


def examine() -> list[Finding]:
    """Look for everything that some part of the lab uses."""
    return [*_needed(), *_packages(), *_programs(), *_rights(), *_containers(), _descriptors()]


def _needed() -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    found = [Finding("Python", version if good else "", "everything", "install 3.11", needed=True)]
    for package, use in (("flup", "flup-fork, flup-thread"), ("locust", "lab load, lab demo")):
        remedy = f"pip install {package}"
        found.append(Finding(package, _version(package), use, remedy, needed=True))
    return found


def _packages() -> list[Finding]:
    pip = "pip install "
    packages = (
        ("uvloop", "uvloop", "the back end uvloop", pip + "uvloop"),
        ("gunicorn", "gunicorn", "the back end gunicorn", pip + "gunicorn"),
        ("uwsgi", "pyuwsgi", "the back end uwsgi", pip + "pyuwsgi"),
        ("bjoern", "bjoern", "the back end bjoern", f"{_APT}gcc libev-dev; {pip}bjoern"),
    )
    return [Finding(name, _version(package), use, how) for name, package, use, how in packages]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _programs() -> list[Finding]:
    programs = (
        ("nginx", find_nginx(), "the front nginx, make bench", _APT + "nginx-light"),
        ("php-fpm", find_php_fpm(), "the back end php-fpm, make bench", _APT + "php-fpm"),
        ("wrk", shutil.which("wrk"), "make bench", _APT + "wrk"),
        ("lighttpd", shutil.which("lighttpd"), "tests with a real peer", _APT + "lighttpd"),
        ("cgi-fcgi", shutil.which("cgi-fcgi"), "tests with a real peer", _APT + "libfcgi-bin"),
        ("gcc", shutil.which("gcc"), "c-extension, bjoern, tests", _APT + "gcc libfcgi-dev"),
        (
            "libfcgi",
            ctypes.util.find_library("fcgi"),
            "the back end libfcgi",
            _APT + "libfcgi0ldbl",
        ),
        ("go", shutil.which("go"), "the back ends go, go-fcgi", _APT + "golang-go"),
        ("php", shutil.which("php"), "php-select, php-coroutine", _APT + "php-cli"),
        ("strace", shutil.which("strace"), "lab trace, lab explain", _APT + "strace"),
        ("tcpdump", shutil.which("tcpdump"), "lab tour S3", _APT + "tcpdump"),
        ("tshark", shutil.which("tshark"), "what lab trace --pcap writes", _APT + "tshark"),
        ("perf", shutil.which("perf"), "looking closer, by hand", _APT + "linux-perf"),
    )
    return [Finding(name, path or "", use, remedy) for name, path, use, remedy in programs]


def _rights() -> list[Finding]:
    asked = (("packet capture", capture.refusal()), ("strace -p", strace.refusal()))
    return [
        Finding(name, "" if refused else "allowed", "lab trace", refused[1] if refused else "")
        for name, refused in asked
    ]


def _containers() -> list[Finding]:
    use = "lab … --docker, docker compose up"
    engine = f"{_APT}docker.io; sudo systemctl start docker"
    compose = f"{_APT}docker-compose docker-buildx"
    asked = (
        ("docker engine", ("version", "--format", "{{.Server.Version}}"), engine),
        ("docker compose", ("compose", "version", "--short"), compose),
    )
    return [Finding(name, _docker(*command), use, remedy) for name, command, remedy in asked]


def _docker(*command: str) -> str:
    """Return what a docker command prints; nothing when it fails, or is not there."""
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
