"""The HTML around the interactive page's plots: title, legend, notes, Bokeh, and a policy that lets nothing else in.

The page's policy (Content-Security-Policy) names its scripts by their hashes and allows no connection: should a name
of the traced program ever get into the page as more than text, it still runs nothing and asks for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

from bokeh.document import Document
from bokeh.resources import Resources

from asynctrace import __version__
from asynctrace.analysis.holding import holding_steps
from asynctrace.analysis.row_names import short_name, visible
from asynctrace.charts.gantt_text import footer_lines, headline
from asynctrace.charts.looks import END_MARKS, LOOKS, Look, duration_text
from asynctrace.charts.timeline_base import file_text
from asynctrace.charts.timeline_figure import Timeline
from asynctrace.model.trace import Trace

_COMPONENTS = ["bokeh", "bokeh-gl", "bokeh-widgets"]
_SIGNS = {"raised": "✕", "cancelled": "⊘", "unfinished": "▷"}
_HOW_TO = (
    '<p class="mouse">Drag to move, turn the wheel to zoom (with Shift: to scroll), click a name to fold its group; '
    "the strip above the rows has the whole time. Point at a bar: an arrow comes from what woke its task.</p>"
)
_ENDLESS = 100_000  # characters: footer lines are wrapped by the browser


def page_of(trace: Trace, timeline: Timeline, threads: int, notes: Sequence[str]) -> str:
    """Return the page as HTML.

    Args:
        trace: The trace that is shown.
        timeline: Its plots.
        threads: How many threads worked off the loop, for the title.
        notes: What has to be said of the plots.
    """
    scripts = [*Resources(mode="inline", components=_COMPONENTS, minified=True).js_raw, file_text("timeline_start.js")]
    said = [*footer_lines(trace, tuple(notes), _ENDLESS), *_held(trace)]
    return Template(file_text("timeline_page.html")).substitute(
        version=escape(__version__),
        title=escape(visible(headline(trace, threads))),
        hashes=" ".join(f"'sha256-{_sha256(script)}'" for script in scripts),
        legend=_legend(timeline.present),
        footer=_HOW_TO + "".join(f"<p>{escape(visible(line))}</p>" for line in said),
        # In JSON a "<" can only be inside a string, where it may be written so.
        model=_model(timeline).replace("<", "\\u003c"),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _model(timeline: Timeline) -> str:
    """Return the document as Bokeh's JSON, with the same ids each time."""
    document = Document()
    document.add_root(timeline.layout)
    document.js_on_event("document_ready", timeline.at_first)
    content = document.to_json(deferred=False)
    item = {"doc": content, "root_id": timeline.layout.id, "target_id": "timeline"}
    return json.dumps(_renumbered(item, {}), separators=(",", ":"))


def _renumbered(value: Any, ids: dict[str, str]) -> Any:
    """Return Bokeh's JSON with ids that count from 1: its own go on counting from page to page."""
    if isinstance(value, dict):
        return {
            key: ids.setdefault(one, str(len(ids) + 1)) if key in ("id", "root_id") else _renumbered(one, ids)
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_renumbered(one, ids) for one in value]
    return value


def _held(trace: Trace) -> list[str]:
    """Say which steps held the loop longest: the bands through the rows."""
    return [
        f"{short_name(held.name)} held the loop for {duration_text(held.end_ns - held.start_ns)} from "
        f"{duration_text(held.start_ns - trace.start_ns)} on: {held.consequence}"
        for held in holding_steps(trace, most=3, with_woken=True)
    ]


def _legend(present: frozenset[str]) -> str:
    entries = [
        f'<li><i style="{_swatch(look)}"></i>{escape(look.legend)}</li>'
        for state, look in LOOKS.items()
        if state in present
    ]
    entries += [f"<li><b>{_SIGNS[outcome]}</b>{outcome}</li>" for outcome in END_MARKS if outcome in present]
    return "".join(entries)


def _swatch(look: Look) -> str:
    edge = look.face if look.edge in ("none", "#FFFFFF") else look.edge
    style = f"background:{look.face};border:1px solid {edge}"
    if look.hatch in ("////", "xx"):
        stripes = [f"repeating-linear-gradient({angle}deg,transparent 0 4px,white 4px 5px)" for angle in (135, 45)]
        style = f"background:{','.join(stripes[: 2 if look.hatch == 'xx' else 1])},{look.face};border:1px solid {edge}"
    return style


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
