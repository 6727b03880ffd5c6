"""What all pages are made of: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import base64
import gzip
import json
from functools import lru_cache
from html import escape
from importlib import resources

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from resnest_search import __version__
from resnest_search.redact import public_text

__all__ = ["chart", "document", "marking_cell", "plain"]


def document(title: str, header: str, main: str, reload_s: int = 0) -> str:
    """The whole file.

    Args:
        title: of the window, as plain text.
        header, main: HTML.
        reload_s: seconds after which it is loaded anew; 0 for never.
    """
    live = f' data-live="{reload_s}"' if reload_s else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{plain(title)}</title>
<style>
{_shipped("page.css")}</style>
<style id="columns-style"></style>
</head>
<body{live}>
{header}
<main>
{main}
</main>
<footer>Written by resnest-search {plain(__version__)}.</footer>
<script type="application/octet-stream" id="plotly">{_library()}</script>
<script>
{_shipped("page.js")}</script>
</body>
</html>
"""


def plain(text: str) -> str:
    """Text as HTML, without what is nobody's business."""
    return escape(public_text(text))


def chart(figure: go.Figure, name: str, title: str) -> str:
    """A figure below the head ``NAME-title``, drawn once it comes into view."""
    drawing = json.dumps(figure.to_plotly_json(), cls=PlotlyJSONEncoder, separators=(",", ":"))
    # by which a script would end, or not end where it should
    drawing = drawing.replace("</", "<\\/").replace("<!--", "<\\u0021--")
    return (
        f'<figure aria-labelledby="{name}-title">'
        f'<div class="chart" id="{name}" data-title="{plain(title)}"></div>'
        f'<script type="application/json">{drawing}</script>'
        f'<button type="button" class="png" aria-label="Save {plain(title)} as PNG">Save as PNG'
        "</button></figure>"
    )


def marking_cell(text: str, name: str) -> str:
    """HTML of a cell from which its row can be marked by keyboard."""
    label = f'class="mark" aria-pressed="false" aria-label="mark {plain(name)}"'
    return f'<button type="button" {label}>{text}</button>'


def _shipped(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _library() -> str:
    """plotly.js, packed, so that the page needs no network and stays small."""
    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode()
