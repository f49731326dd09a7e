"""The environment of a measurement, from /proc, /sys and git; figures mean little without it."""

import importlib.metadata
import os
import platform
import resource
import subprocess
from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"
REACHED: Final = {
    "loopback": "loopback",
    "container-address": "their containers' own addresses, over a bridge",
    "published-port": "a port that Docker publishes, through its proxy",
}
"""How the generator reaches the servers, in words."""
_IPV4: Final = Path("/proc/sys/net/ipv4")


def cpu_model() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return UNKNOWN


def kernel() -> str:
    """Return the kernel's release."""
    return platform.release()


def governor() -> str:
    """Return the CPU frequency governor; virtual machines do not report it."""
    return _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))


def congestion() -> str:
    """Return TCP's congestion control."""
    return _first_line(_IPV4 / "tcp_congestion_control")


def limits() -> dict[str, str]:
    """Return the limits that matter for many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "descriptors": f"{soft} (hard {hard})",
        "somaxconn": _first_line(Path("/proc/sys/net/core/somaxconn")),
        "ports": _first_line(_IPV4 / "ip_local_port_range").replace("\t", "-"),
        "tcp_max_syn_backlog": _first_line(_IPV4 / "tcp_max_syn_backlog"),
    }


def versions(packages: list[str], programs: dict[str, list[str]]) -> dict[str, str]:
    """Return the versions of Python, of `packages`, and of `programs` by the commands given."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command in programs.items():
        if output := _output(command):
            found[name] = output.splitlines()[0].strip()
    return found


def commit(folder: Path) -> str:
    """Return the commit of `folder`, with "+" if files have uncommitted changes."""
    found = _output(["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]).strip()
    changed = _output(["git", "-C", str(folder), "status", "--porcelain", "-uno"]).strip()
    return found + "+" if found and changed else found


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def _first_line(path: Path) -> str:
    try:
        return path.read_text().splitlines()[0].strip()
    except (OSError, IndexError):
        return UNKNOWN


def _output(command: list[str]) -> str:
    """Return a command's output; "" if it fails or is not installed."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode > 1 else (done.stdout or done.stderr)
