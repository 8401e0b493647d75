"""Names are any program's: whatever is in them, a chart shows them on one line, and the model keeps them."""

from __future__ import annotations

import warnings
from pathlib import Path
from time import process_time
from xml.etree import ElementTree

import pytest
from matplotlib import MatplotlibDeprecationWarning
from matplotlib.figure import Figure
from matplotlib.text import Text

from asynctrace.charts.comparison_chart import draw_comparison
from asynctrace.charts.gantt import draw_gantt
from asynctrace.charts.looks import drawable, elided
from asynctrace.charts.output import write_figure
from asynctrace.model.trace import Trace
from tests.comparison_fakes import comparison
from tests.fakes import FakeTrace

NAMES = {
    "caf\udce9 #1": "caf\\udce9 #1",
    "two\nlines\tand a tab": "two\\nlines\\tand a tab",
    "nul\0nul": "nul\\x00nul",
    "\x1b[31mred": "\\x1b[31mred",
    "$x^2$ $\\frac{": "$x^2$ $\\frac{",
    "🧵 下载": "🧵 下载",
    "שלום עולם": "שלום עולם",
    "e\u0301\u0301": "e\u0301\u0301",
    "\u202eleft": "\\u202eleft",
    "\ufdd0": "\\ufdd0",
}


def hostile() -> Trace:
    fake = FakeTrace(source="/tmp/a\nb\udce9 $x$.pftrace")
    main = fake.task("main", states=[("running", 0, 2), ("waiting", 2, 1000, "gather"), ("running", 1000, 1002)])
    for index, name in enumerate(NAMES):
        fake.task(
            name,
            creator=main,
            file=f"/tmp/{name}.py",
            states=[("running", 2 + index, 3 + index), ("waiting", 3 + index, 999, "sleep", f"wait({name})")],
        )
    return fake.build()


def draw(name: str) -> Figure:
    trace = hostile()
    if name == "gantt":
        return draw_gantt(trace, coroutines=True)
    if name == "axes":
        figure = Figure(figsize=(12, 8), layout="constrained")
        return draw_gantt(trace, ax=figure.add_subplot())
    return draw_comparison(comparison(**dict.fromkeys(list(NAMES)[:3], trace)), title="\udce9 $x", time_label="\n$x^$")


@pytest.mark.parametrize("name", ["gantt", "axes", "comparison"])
def test_every_text_of_a_chart_can_be_drawn_and_read(tmp_path: Path, name: str) -> None:
    with warnings.catch_warnings():
        # Matplotlib's own only: a glyph that no font has, a layout that failed, a deprecation; a sum that is no number.
        warnings.filterwarnings("error", category=UserWarning)
        warnings.filterwarnings("error", category=MatplotlibDeprecationWarning)
        warnings.filterwarnings("error", module=r"(matplotlib|numpy)\b")
        figure = draw(name)
        for suffix in ("png", "svg", "pdf"):
            write_figure(figure, tmp_path / f"x.{suffix}")

    shown = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    assert all(text.isprintable() or text == "tasks at\na time" for text in shown)
    assert not any(text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text())  # type: ignore[attr-defined]
    words = "\n".join(shown)
    assert [wanted for wanted in NAMES.values() if wanted not in words] == []
    drawn = "".join(ElementTree.parse(tmp_path / "x.svg").getroot().itertext())
    assert "nul\\x00nul" in drawn


def test_the_model_keeps_the_exact_names() -> None:
    trace = hostile()
    before = [task.label for task in trace.tasks]

    draw_gantt(trace)

    assert [task.label for task in trace.tasks] == before
    assert set(NAMES) <= set(before)


def test_a_name_of_a_megabyte_costs_no_more_than_a_short_one() -> None:
    fake = FakeTrace()
    for name in ("x" * 1_000_000, "y." * 500_000, "\ud800" * 1_000_000):
        fake.task(name, file=name, states=[("running", 0, 2), ("waiting", 2, 1000, name, name)])
    trace = fake.build()
    began = process_time()

    draw_gantt(trace)
    draw_comparison(comparison(**{"x" * 1_000_000: trace}))

    assert process_time() - began < 5  # far more, where each shorter form of a text is tried


def test_what_is_too_long_keeps_its_beginning_and_its_end() -> None:
    assert elided("abcdefghij", 5) == "ab…ij"
    assert elided("\ud800" * 9, 13) == "\\ud800…\\ud800"
    assert drawable("abcdefghij") == "abcdefghij"
    assert len(drawable("x" * 100_000)) == 400
