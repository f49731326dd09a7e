"""Shared parts of self-contained HTML pages, which work offline and load nothing.

    environment("lab.compare.report", "page").get_template("page.html").render(…)

charts     data types of a figure: selectable views, and a table with the same numbers
vega       pieces of Vega-Lite specifications: colours, axes, scales
parts/     base.html: head and tail of every page; base.css: light and dark colours, type, tables,
           print; figures.html: the macros `figure` and `table`; charts.html: Vega and figures.js,
           which draws the figures and sorts the tables

A page's template extends base.html and fills its blocks title, style, body and script. A page with
figures includes charts.html in the block script, then calls drawAll().

The charts use Vega-Lite. Its JavaScript, 0.9 MB, comes from the package vl-convert-python and is
embedded in the page. The reader's browser draws, so charts fit its width, follow its colour scheme,
and let the reader select lines. Extracting the JavaScript takes about three seconds.

To keep pages small, the JavaScript and the figures' data are packed: gzip in base64, a fifth to a
half of the text's size. figures.js unpacks them with DecompressionStream (in browsers since 2023).
Tables and sentences stay text, readable without JavaScript.
"""

import gzip
import json
from base64 import b64encode
from functools import cache
from typing import Final

import vl_convert
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from chainlab.pages.vega import CONFIG

LICENCE: Final = "Vega, Vega-Lite, Vega-Embed: BSD 3-Clause, University of Washington and others."


def environment(package: str, folder: str) -> Environment:
    """Return a Jinja environment with a package's folder of templates, and the shared parts.

    Templates can use `vega()` (a statement with Vega's JavaScript), `vega_config`, `vega_licence`,
    and the filter `packed`, which turns a value into packed JSON.
    """
    result = Environment(
        loader=ChoiceLoader(
            [PackageLoader(package, folder), PackageLoader("chainlab.pages", "parts")]
        ),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    result.filters.update(packed=lambda value: pack(json.dumps(value, separators=(",", ":"))))
    result.globals.update(vega=_vega, vega_config=CONFIG, vega_licence=LICENCE)
    return result


def pack(text: str) -> str:
    """Pack a text for figures.js: gzip in base64, deterministic (no time stamp)."""
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


@cache
def _vega() -> str:
    """Return a JavaScript statement that defines VEGA, the packed library, for figures.js."""
    return f'const VEGA = "{pack(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))}";'
