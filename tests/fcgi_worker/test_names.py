"""An application may have packages of any name: the worker's own are all under names of ours."""

import json
from pathlib import Path

from tests.support.fastcgi import Client
from tests.support.processes import running_worker

ROOT = Path(__file__).parents[2]
NAMES = (
    "wire", "transport", "pages", "otlp", "gateway", "servers", "lab", "loadtest", "experiments",
)  # fmt: skip
"""What is, or was, a package of this project."""

APPLICATION = """
import json
import sys

ours = [
    name
    for name, module in sys.modules.items()
    if (getattr(module, "__file__", None) or "").startswith({root!r} + "/")
    and "/.venv/" not in module.__file__
]
import {names}

found = {{name: sys.modules[name].__file__ for name in {tuple!r}}}


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([ours, found]).encode()]
"""


def make_site(folder: Path) -> Path:
    """Write the application into `folder`/site and return that."""
    site = folder / "site"
    for name in (*NAMES, "shop"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("")
    source = APPLICATION.format(root=str(ROOT), names=", ".join(NAMES), tuple=NAMES)
    (site / "shop" / "wsgi.py").write_text(source)
    return site


def test_every_package_of_the_application_is_the_applications(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with (
        running_worker("shop.wsgi:application", bind=f"unix:{tmp_path}/s", cwd=site) as started,
        Client(started[1]) as client,
    ):
        ours, found = json.loads(client.request("/").body)
    assert found == {name: str(site / name / "__init__.py") for name in NAMES}
    tops = {name.partition(".")[0] for name in ours}
    assert tops - {"shop", "__main__", "__mp_main__"} == {"chainlab", "fcgi_worker"}


def test_whoami_names_the_worker_and_not_the_front_end(tmp_path: Path) -> None:
    with (
        running_worker("servers.app.wsgi:application", bind=f"unix:{tmp_path}/s", cwd=ROOT) as (
            _,
            address,
        ),
        Client(address) as client,
    ):
        answer = json.loads(client.request("/whoami", SERVER_SOFTWARE="chain-gateway").body)
    assert answer["architecture"] == "fcgi-worker"
