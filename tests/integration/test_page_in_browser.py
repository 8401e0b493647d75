"""The interactive page in a real browser: a Chromium that is installed, driven by Playwright, without a network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asynctrace.model.trace import Trace
from tests.fakes import FakeTrace

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("bokeh", reason="bokeh is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = '</script><script>window.ran = 1</script><img src="http://127.0.0.1:9/x" onerror="window.ran = 1">'
TOOLTIP = "div[style*=pre-line]:visible"
FORMULA = "$$\\frac{1}{2}$$"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)"),
]


class Page:
    """A page that is open, and all that it asked for and complained of."""

    def __init__(self, page: Any) -> None:
        self.browser = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.route("**/*", self._answer)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _answer(self, route: Any) -> None:
        if route.request.url.startswith("file:") and route.request.is_navigation_request():
            route.continue_()
        else:
            self.asked.append(route.request.url)
            route.abort()

    def open(self, path: Path) -> None:
        self.browser.goto(path.as_uri())
        self.settle()

    def settle(self) -> None:
        """Wait until Bokeh has drawn, and what it asked to be done in the next frame is done."""
        self.browser.wait_for_function("window.Bokeh && Bokeh.documents.length == 1 && Bokeh.documents[0].is_idle")
        self.browser.evaluate("() => new Promise((done) => setTimeout(done, 100))")

    def do(self, script: str, argument: object = None) -> Any:
        """Run a script that finds `model(name)` and `view(name)`."""
        find = "const model = (name) => Bokeh.documents[0].get_model_by_name(name);"
        find += "const view = (name) => Bokeh.index.find_one(model(name));"
        return self.browser.evaluate(f"(argument) => {{ {find} {script} }}", argument)

    def shown(self) -> list[str]:
        """Return the labels of the rows that are shown, from the top."""
        script = "const {data} = model('rows'); return data.shown.filter((_, row) => !isNaN(data.top[row]))"
        return list(self.do(script))

    def ranges(self) -> list[float]:
        script = "const {x_range: x, y_range: y} = model('bars'); return [x.start, x.end, y.start, y.end]"
        return list(self.do(script))

    def place(self, plot: str, x: float, y: float) -> tuple[float, float]:
        """Return where a point of a plot is in the window."""
        script = """
            const {frame, el} = view(argument[0]);
            const {left, top} = el.getBoundingClientRect();
            return [left + frame.x_scale.compute(argument[1]), top + frame.y_scale.compute(argument[2])];
        """
        left, top = self.do(script, [plot, x, y])
        return left, top

    def row(self, label: str) -> float:
        """Return the y of the middle of a row that is shown."""
        script = """
            const {data} = model("rows");
            const row = data.shown.findIndex((label, row) => label.includes(argument) && !isNaN(data.top[row]));
            return (data.top[row] + data.bottom[row]) / 2;
        """
        return float(self.do(script, label))

    def hover(self, plot: str, x: float, label: str) -> str:
        """Move the pointer onto a row at a time, and return what is told there."""
        self.browser.mouse.move(*self.place(plot, x, self.row(label)))
        tip = self.browser.locator(TOOLTIP)
        tip.first.wait_for()
        return "\n".join(tip.all_inner_texts())

    def click(self, label: str) -> None:
        self.browser.mouse.click(*self.place("names", 0.3, self.row(label)))
        self.settle()

    def search(self, text: str) -> None:
        self.browser.get_by_placeholder("search").fill(text)
        self.settle()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[{"width": 1280, "height": 720}], ids=["desktop"])
def page(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that in the end has asked for nothing and complained of nothing."""
    context = chromium.new_context(viewport=request.param, has_touch=True, offline=True)
    page = Page(context.new_page())
    yield page
    context.close()
    assert page.asked == []
    assert page.complaints == []


def served() -> Trace:
    fake = FakeTrace(source="app.py")
    main = fake.task("main", line=3, states=[("running", 0, 2), ("waiting", 2, 900, "gather", "asyncio.gather(*jobs)")])
    for index in range(4):
        task = fake.task(
            "get_item",
            creator=main,
            line=7,
            outcome="raised" if index == 2 else "returned",
            error="TimeoutError" if index == 2 else None,
            states=[
                ("ready", 2, 10 + index),
                ("running", 10 + index, 11 + index),
                ("waiting", 11 + index, 800, "io", "reader.readline()"),
                ("ready", 800, 805 + index, "io"),
                ("running", 805 + index, 806 + index),
            ],
        )
        task.name = f"item-{index}"
    fake.task("load", creator=main, states=[("running", 100, 300)], blockings=[("time.sleep", 110, 290)])
    return fake.build(lost=3, notes=["The first 0.2 s are unknown: memory was short."])


def write(trace: Trace, folder: Path) -> Path:
    path = folder / "page.html"
    trace.save(path)
    return path


def test_the_pointer_is_told_what_a_bar_is(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))

    waiting = page.hover("bars", 400, "item-2")
    ready = page.hover("bars", 4, "item-1")
    blocking = page.hover("bars", 200, "load")

    assert waiting.splitlines()[:5] == [
        "get_item #3 item-2",
        "waiting 787 ms",
        "for reader.readline() (io)",
        "at app.py:1",
        "woken by I/O",
    ]
    assert waiting.splitlines()[-1] == "the task: raised (TimeoutError)"
    assert "woken by main, which created it" in ready
    assert "blocking 180 ms" in blocking and "in time.sleep" in blocking


def arrow(page: Page) -> tuple[float, float, float] | None:
    """Return when the arrow is that can be seen, the y at which it begins, and that of its head; None without one."""
    x, begin, end = page.do("const {x, begin, end} = model('arrows').data; return [x[0], begin[0], end[0]]")
    return None if x is None else (x, begin, end)


def test_an_arrow_comes_from_what_woke_the_task(page: Page, tmp_path: Path) -> None:
    fake = FakeTrace(source="app.py")
    thread = fake.thread("asyncio_0")
    main = fake.task("main", states=[("running", 0, 100), ("waiting", 100, 900, "gather"), ("running", 900, 901)])
    woken = [("waiting", 110, 500, "lock"), ("ready", 500, 600, main), ("running", 600, 610)]
    for _ in range(2):
        fake.task("count", creator=main, states=[("ready", 50, 100), ("running", 100, 110), *woken])
    by_thread = ("ready", 700, 701, thread)
    fake.task("alone", states=[("running", 0, 1), ("waiting", 1, 700, "thread"), by_thread, ("running", 701, 702)])
    fake.call("crunch", 400, 700, thread=thread, kind="job")
    page.open(write(fake.build(), tmp_path))
    begin, end = page.row("main"), page.row("count #1") - 0.35

    told = page.hover("bars", 300, "count #1")
    assert "woken by main" in told
    assert arrow(page) == (500, begin, pytest.approx(end - 0.2, abs=0.1))
    page.hover("bars", 550, "count #1")
    assert arrow(page) == (500, begin, pytest.approx(end - 0.2, abs=0.1))
    page.hover("bars", 75, "count #1")
    assert arrow(page) == (50, begin, pytest.approx(end - 0.2, abs=0.1))
    page.hover("bars", 300, "alone")
    assert arrow(page) == (700, page.row("crunch"), pytest.approx(page.row("alone") + 0.55, abs=0.1))
    page.browser.mouse.move(*page.place("bars", 880, page.row("alone")))
    page.settle()
    assert arrow(page) is None


def test_an_arrow_comes_from_the_row_that_stands_for_a_folded_one(page: Page, tmp_path: Path) -> None:
    fake = FakeTrace(source="app.py")
    main = fake.task("main", states=[("running", 0, 1)])
    counts = [fake.task("count", creator=main, states=[("waiting", 1, 500, "sleep")]) for _ in range(2)]
    main.states = fake.task("", states=[("waiting", 1, 500, "gather"), ("ready", 500, 510, counts[1])]).states
    fake.tasks.pop()
    page.open(write(fake.build(), tmp_path))

    page.hover("bars", 300, "main")
    assert arrow(page) == (500, page.row("count #2"), pytest.approx(page.row("main") + 0.55, abs=0.1))
    page.click("count ×2")
    page.hover("bars", 300, "main")
    assert arrow(page) == (500, page.row("count ×2"), pytest.approx(page.row("main") + 0.55, abs=0.1))


def test_the_times_of_a_short_bar_differ(page: Page, tmp_path: Path) -> None:
    fake = FakeTrace(source="app.py")
    fake.task("main", states=[("running", 0, 4000), ("ready", 4000.0123, 4000.0198), ("running", 4000.0198, 4001)])
    page.open(write(fake.build(), tmp_path))
    page.do("model('bars').x_range.setv({start: 4.00001, end: 4.00002})")
    page.settle()

    assert "from 4.0000123 s to 4.0000198 s" in page.hover("bars", 4.000015, "main")


def test_a_name_is_told_in_full(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))

    told = page.hover("names", 0.3, "get_item ×4")

    assert told.startswith("get_item ×4\napp.py:7\n4 tasks: running 8.00 ms, ")
    assert told.endswith("3 returned, 1 raised")


def test_what_must_be_known_of_the_trace_is_written(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))

    text = page.browser.locator("body").inner_text()

    assert "app.py: 6 tasks, 900 ms" in text
    assert "lost 3" in text
    assert "The first 0.2 s are unknown: memory was short." in text
    assert [
        entry
        for entry in ("running", "waiting (on what)", "ready, loop busy", "blocking the loop", "raised")
        if entry not in text
    ] == []


def test_the_wheel_zooms_and_dragging_moves(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))
    start, end, *rows = page.ranges()

    page.browser.mouse.move(*page.place("bars", 450, 2))
    page.browser.mouse.wheel(0, -600)
    page.settle()
    zoomed_start, zoomed_end, *zoomed_rows = page.ranges()

    assert start < zoomed_start < 450 < zoomed_end < end
    assert zoomed_end - zoomed_start < 0.7 * (end - start)
    assert zoomed_rows == rows
    page.browser.mouse.down()
    page.browser.mouse.move(*page.place("bars", 500, 2))
    page.browser.mouse.up()
    page.settle()
    moved_start, moved_end, *_ = page.ranges()
    assert moved_start == pytest.approx(zoomed_start - 50, abs=3)
    assert moved_end - moved_start == pytest.approx(zoomed_end - zoomed_start)
    page.browser.get_by_role("button", name="whole time").click()
    page.settle()
    assert page.ranges()[:2] == [start, end]


def test_texts_in_the_bars_fit_into_them_at_each_zoom(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))
    written = "return model('texts').data.text"

    assert "asyncio.gather(*jobs)  (gather)" in page.do(written)
    page.do("model('bars').x_range.setv({start: 880, end: 960})")
    page.settle()
    assert page.do(written) == ["asyncio.gather(*jobs)  (gather)"]
    page.do("model('bars').x_range.setv({start: 902, end: 912})")
    page.settle()
    assert page.do(written) == []


def test_a_search_shows_what_it_finds_and_fades_the_rest(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))
    everything = page.shown()

    page.search("timeouterror")
    assert page.shown() == ["▾ get_item ×4", "get_item #3  item-2"]
    assert page.browser.get_by_text("1 of 6 tasks").is_visible()
    page.search("ITEM app.py")
    assert len(page.shown()) == 5
    page.search("nobody")
    assert page.shown() == []
    page.search("")
    assert page.shown() == everything
    assert set(page.do("return [...model('waiting').data.alpha]")) == {1}


def test_a_lane_says_how_many_of_its_tasks_a_search_finds(page: Page, tmp_path: Path) -> None:
    fake = FakeTrace()
    for index in range(6):
        fake.task("job: all", states=[("running", index // 2, index // 2 + 1)]).name = f"number-{index}"
    page.open(write(fake.build(), tmp_path))
    everything = page.shown()
    assert everything == ["▾ job: all ×6", "lane 1: 3 tasks", "lane 2: 3 tasks"]

    page.search("number-3")
    assert page.shown() == ["▾ job: all ×6", "lane 2: 1 of 3 tasks"]
    page.search("")
    assert page.shown() == everything


def test_a_click_on_a_name_folds_its_group_and_another_unfolds_it(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))
    everything = page.shown()
    hidden = "return [...model('waiting').data.top].filter(isNaN).length"
    assert page.do(hidden) == 0

    page.click("get_item ×4")

    assert page.shown() == ["main", "▸ get_item ×4", "load"]
    assert page.do(hidden) == 4
    page.click("main")
    assert page.shown() == ["main", "▸ get_item ×4", "load"]
    page.click("get_item ×4")
    assert page.shown() == everything
    page.browser.get_by_text("fold all", exact=True).click()
    page.settle()
    assert page.shown() == ["main", "▸ get_item ×4", "load"]
    page.browser.get_by_text("unfold all").click()
    page.settle()
    assert page.shown() == everything


def test_clicks_in_quick_succession_are_clicks(page: Page, tmp_path: Path) -> None:
    fake = FakeTrace()
    for name in ("one", "two"):
        for _ in range(2):
            fake.task(name, states=[("running", 0, 9)])
    page.open(write(fake.build(), tmp_path))

    places = [page.place("names", 0.3, page.row(name)) for name in ("two ×2", "one ×2")]
    for place in places:
        page.browser.mouse.click(*place)
    page.settle()
    assert page.shown() == ["▸ one ×2", "▸ two ×2"]
    page.browser.mouse.click(*places[1], click_count=2)
    page.settle()
    assert page.shown() == ["▸ one ×2", "▸ two ×2"]


def test_names_of_any_text_stay_text(page: Page, tmp_path: Path) -> None:
    fake = FakeTrace(source=f"{HOSTILE}.py")
    main = fake.task(HOSTILE, states=[("running", 0, 1), ("waiting", 1, 900, "io", HOSTILE)])
    for name in (HOSTILE, FORMULA, "nul\0", "caf\udce9", "two\nlines", "🧵", "שלום", "x" * 10_000, "@{title} $index"):
        task = fake.task("work", creator=main, states=[("running", 1, 2), ("waiting", 2, 900, "io", name)])
        task.name = name
    fake.task(FORMULA, states=[("running", 0, 900)])
    page.open(write(fake.build(notes=[HOSTILE, FORMULA]), tmp_path))

    told = page.hover("bars", 400, "work #1")
    page.hover("names", 0.3, "work #2")
    page.search(HOSTILE)

    assert f"for {HOSTILE} (io)" in told
    assert "work #1" in "".join(page.shown())
    assert page.do("return window.ran") is None
    assert page.browser.locator("img").count() == 0


def test_five_thousand_tasks_can_be_read(page: Page, tmp_path: Path) -> None:
    fake = FakeTrace(source="crowd.py")
    main = fake.task("main", states=[("running", 0, 1), ("waiting", 1, 9000, "gather", "asyncio.gather(*all)")])
    for index in range(5000):
        start = 1 + index % 50
        fake.task(
            "fetch" if index % 2 else "parse",
            creator=main,
            states=[("ready", start, start + 10), ("running", start + 10, start + 11), ("waiting", start + 11, 5000)],
        )
    page.open(write(fake.build(), tmp_path))

    assert page.shown() == ["main", "▸ parse ×2,500", "▸ fetch ×2,500"]
    page.click("fetch ×2,500")
    assert len(page.shown()) == 2503
    start, end = page.ranges()[2:]
    page.browser.mouse.move(*page.place("names", 0.5, 5))
    page.browser.mouse.wheel(0, 300)
    page.settle()
    assert page.ranges()[3] > end and page.ranges()[2] - page.ranges()[3] == pytest.approx(start - end)


@pytest.mark.parametrize("page", [{"width": 900, "height": 300}], ids=["low"], indirect=True)
def test_names_stay_beside_their_rows_however_low_the_window(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))

    for height in (300, 500, 900):
        page.browser.set_viewport_size({"width": 900, "height": height})
        page.settle()
        places = [page.place(plot, 0, page.row(label)) for label in ("main", "load") for plot in ("names", "bars")]
        tops = [top for _, top in places]
        assert tops[0] == pytest.approx(tops[1], abs=1) and tops[2] == pytest.approx(tops[3], abs=1)
        footer = page.browser.locator("footer").bounding_box()
        axis = page.do("return view('bars').el.getBoundingClientRect().bottom")
        assert footer["y"] >= axis


@pytest.mark.parametrize("page", [{"width": 390, "height": 760}], ids=["phone"], indirect=True)
def test_a_phone_has_room_for_it_and_a_tap_tells_what_a_bar_is(page: Page, tmp_path: Path) -> None:
    page.open(write(served(), tmp_path))

    assert page.do("const {scrollWidth, clientWidth} = document.documentElement; return scrollWidth <= clientWidth")
    assert page.do("return view('bars').frame.bbox.width") > 200
    page.browser.touchscreen.tap(*page.place("bars", 400, page.row("item-2")))
    tip = page.browser.locator(TOOLTIP)
    tip.wait_for()
    assert tip.inner_text().startswith("get_item #3 item-2")
    box = tip.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
