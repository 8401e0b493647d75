"""The title and subtitle of a comparison follow from the figures."""

import pytest

from asynctrace.analysis.comparison_finding import Finding, find, listed, number
from asynctrace.analysis.comparison_rows import panels
from asynctrace.analysis.version import measured
from asynctrace.comparison import Comparison
from asynctrace.model.trace import Trace
from tests.comparison_fakes import blocking, comparison, demo, gather, processes, threads
from tests.fakes import FakeTrace


def finding(compared: Comparison) -> Finding:
    return find(compared.versions, panels([version.trace for version in compared.versions]), compared.baseline)


def words(compared: Comparison) -> tuple[str, str]:
    found = finding(compared)
    return found.titles[0], found.subtitle


def crunching(wall: float, parts: int, *, in_processes: bool = False) -> Trace:
    """Four crunches that use the CPU: one after the other, or at once on `parts` threads or in processes."""
    fake = FakeTrace()
    for index in range(4):
        if parts == 1:
            fake.call("crunch", wall / 4 * index, wall / 4 * (index + 1), cpu=wall / 4)
            continue
        thread = fake.thread(f"Thread-{index + 1}")
        if in_processes:
            process = fake.process(f"SpawnProcess-{index + 1}", started=0)
            thread = fake.thread("MainThread", process=process, is_main=True)
        fake.call("crunch", 0, wall, kind="job", thread=thread, cpu=wall if in_processes else wall / 4)
    return fake.build()


def test_the_demo() -> None:
    assert words(demo()) == (
        "count ×3: gather, threads and processes overlap; blocking does not",
        "gather finishes 3.0× sooner than blocking: three waits at the same time, on one thread",
    )


def test_the_baseline_may_be_the_one_that_overlaps() -> None:
    assert words(comparison(gather=gather(), blocking=blocking())) == (
        "count ×3: gather overlaps; blocking does not",
        "blocking takes 3.0× as long as gather",
    )


def test_overlapping_threads_that_are_no_faster_are_not_praised() -> None:
    compared = comparison(
        blocking=crunching(2000, 1), threads=crunching(2020, 4), processes=crunching(500, 4, in_processes=True)
    )

    assert words(compared) == (
        "crunch ×4: processes finish sooner than blocking; threads take as long",
        "processes finish 4.0× sooner than blocking: four at work at the same time, in four processes",
    )


def test_no_clear_difference_is_said_neutrally() -> None:
    assert words(comparison(threads=threads(), gather=gather())) == (
        "count ×3: threads and gather take the same time",
        "1.00 s to 1.00 s: a difference under 10 %",
    )


def test_slower_than_the_baseline() -> None:
    assert words(comparison(one=crunching(1000, 1), other=crunching(1500, 1))) == (
        "crunch ×4: other takes longer than one",
        "other takes 1.5× as long as one",
    )


def test_different_counts_are_not_told_as_one() -> None:
    assert words(comparison(few=gather(2), many=gather(5)))[0].startswith("count: ")


def test_versions_without_a_name_in_common() -> None:
    assert words(comparison(crunch=crunching(1000, 1), gather=gather()))[0] == "crunch and gather take the same time"


def test_many_threads_are_told_by_number() -> None:
    title, subtitle = words(comparison(blocking=blocking(), threads=threads(), processes=processes()))

    assert title == "count ×3: threads and processes overlap; blocking does not"
    assert subtitle.endswith("three waits at the same time, on three threads")


def test_a_failed_baseline() -> None:
    failed = measured("blocking", None, "ValueError: boom")

    assert words(comparison(blocking=failed, gather=gather())) == (
        "count ×3: blocking failed",
        "blocking: ValueError: boom",
    )


def test_a_failed_version_beside_others_is_left_out() -> None:
    failed = measured("threads", None, "ValueError: boom")

    assert words(comparison(blocking=blocking(), threads=failed, gather=gather()))[0] == (
        "count ×3: gather overlaps; blocking does not"
    )


def test_a_single_version() -> None:
    assert words(comparison(gather=gather())) == ("count ×3: gather takes 1.00 s", "nothing to compare it with")


def test_shorter_titles_say_the_same() -> None:
    assert finding(demo()).titles == (
        "count ×3: gather, threads and processes overlap; blocking does not",
        "gather, threads and processes overlap; blocking does not",
        "count ×3: gather, threads and processes overlap",
        "gather, threads and processes overlap",
    )


@pytest.mark.parametrize(("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_listed(names: list[str], text: str) -> None:
    assert listed(names) == text


def test_numbers_are_words_up_to_twelve() -> None:
    assert [number(3), number(12), number(13)] == ["three", "twelve", "13"]
