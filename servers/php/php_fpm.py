"""The real php-fpm, the back end of the notes, run by any user with a generated configuration.

The pool has a fixed size (`pm = static`), so that N workers mean N as everywhere else. php-fpm runs
in the foreground, logs to stderr, and passes on the environment, from which /whoami takes its id.
The web server chooses the script: it sends SCRIPT_FILENAME = `INDEX` with its usual parameters.

The contract limits the size of a request's content. PHP would parse forms in advance and refuse
large ones with its own message, so parsing is off, and the script reads php://input itself.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from chainlab.transport import Address

INDEX: Final = Path(__file__).with_name("index.php")
"""The script; the web server sends its path as SCRIPT_FILENAME."""

READY: Final = "ready to handle connections"
"""What php-fpm prints to stderr once it listens."""

_NAMES: Final = ("php-fpm8.2", "php-fpm8.4", "php-fpm8.3", "php-fpm")

_CONFIG: Final = """\
[global]
daemonize = no
error_log = /proc/self/fd/2
pid = {run_dir}/php-fpm.pid
log_limit = 8192
; a child that crashes must not restart the others
emergency_restart_threshold = 0
process_control_timeout = 10s

[chainlab]
listen = {listen}
listen.backlog = 4096
listen.mode = 0660
pm = static
pm.max_children = {workers}
clear_env = no
catch_workers_output = yes
decorate_workers_output = no
security.limit_extensions = .php
php_admin_value[post_max_size] = 64M
php_admin_value[enable_post_data_reading] = 0
; the script reads only $_SERVER
php_admin_value[variables_order] = S
php_admin_value[output_buffering] = 0
php_admin_flag[zlib.output_compression] = off
; no limit, which would set and clear a timer for each request
php_admin_value[max_execution_time] = 0
php_admin_value[max_input_time] = -1
php_admin_value[default_charset] =
php_admin_value[upload_tmp_dir] = {run_dir}
php_admin_flag[expose_php] = off
php_admin_flag[display_errors] = off
php_admin_flag[log_errors] = on
"""


def find_php_fpm() -> str | None:
    """Return php-fpm's path, or None if it is not installed (Debian: apt install php8.2-fpm)."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    return next((found for name in _NAMES if (found := shutil.which(name, path=path))), None)


def write_config(run_dir: Path, address: Address, workers: int) -> Path:
    """Write php-fpm.conf into `run_dir`, a folder for one instance, and return its path.

    ValueError if the port is 0: php-fpm does not report which port the kernel chose.
    """
    if not address.path and not address.port:
        raise ValueError(f"{address}: php-fpm needs a port other than 0, or unix:PATH")
    run_dir = run_dir.resolve()
    listen = str(Path(address.path).absolute()) if address.path else str(address)
    config = run_dir / "php-fpm.conf"
    config.write_text(_CONFIG.format(run_dir=run_dir, listen=listen, workers=workers))
    return config


def make_command(php_fpm: str, config: Path) -> list[str]:
    """Return the command line; php-fpm runs as root only with -R."""
    as_root = ["-R"] if os.geteuid() == 0 else []
    return [php_fpm, "-F", *as_root, "-y", str(config)]
