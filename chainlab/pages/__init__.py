"""What self-contained HTML pages share: each opens offline and loads nothing.

    environment("lab.compare.report", "page").get_template("page.html").render(…)

charts     what a figure is: views of which the reader picks one, and the same as a table
vega       what drawings share: colours, axes, scales
parts/     base.html: what every page begins and ends with; base.css: colours, light and dark, type,
           tables, print; figures.html: the macros `figure` and `table`; charts.html: Vega and
           figures.js, which draws the figures and sorts the tables

A page's template extends base.html and fills its blocks title, style, body and script; one with
figures includes charts.html in the last and calls drawAll().

The charts are Vega-Lite's. Its JavaScript comes out of the vl-convert-python package and goes into
the page whole, 0.9 MB: the reader's browser draws, so that a chart has the width of its screen, its
colours follow the reader's scheme, and lines can be picked. Taking it out costs some three seconds.

It and what the figures draw are packed, for a page of many figures is to stay small: gzip, in
base64, a fifth to a half of the text; figures.js unpacks them (DecompressionStream, in browsers
since 2023). Tables and sentences are text, to be read by whatever reads a page.
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
    """Return the templates of a package's folder, beside the parts that all pages share.

    A template has `vega()`, a script with Vega's JavaScript, its `vega_config` and `vega_licence`,
    and the filter `packed`, which makes packed JSON of a value.
    """
    made = Environment(
        loader=ChoiceLoader(
            [PackageLoader(package, folder), PackageLoader("chainlab.pages", "parts")]
        ),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(packed=lambda value: pack(json.dumps(value, separators=(",", ":"))))
    made.globals.update(vega=_vega, vega_config=CONFIG, vega_licence=LICENCE)
    return made


def pack(text: str) -> str:
    """Return a text as figures.js unpacks it: gzip, in base64; the same text gives the same."""
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


@cache
def _vega() -> str:
    """Return a statement that has Vega's JavaScript, packed, for figures.js."""
    return f'const VEGA = "{pack(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))}";'
