"""What is too fine to draw one by one."""

import pytest

from asynctrace.analysis.stretches import Stretch
from asynctrace.charts.looks import StateName
from asynctrace.charts.mix_drawing import with_running
from asynctrace.charts.mixing import unmixed


def test_what_is_wide_enough_is_drawn_as_it_is() -> None:
    stretches = [Stretch("running", 0, 10), Stretch("waiting", 10, 1000), Stretch("running", 1000, 1010)]

    assert unmixed(stretches, 50) == (stretches, [])


def test_many_fine_stretches_become_bins_with_the_share_of_each_state() -> None:
    fine = [
        stretch
        for start in range(0, 400, 10)
        for stretch in (Stretch("running", start, start + 4), Stretch("ready", start + 4, start + 10))
    ]
    wide = Stretch("waiting", 400, 1000)

    plain, mixes = unmixed([*fine, wide], 100)

    assert plain == [wide]
    assert [(mix.start_ns, mix.end_ns) for mix in mixes] == [(0, 100), (100, 200), (200, 300), (300, 400)]
    assert [mix.shares for mix in mixes] == [pytest.approx({"running": 0.4, "ready": 0.6})] * 4


def test_a_little_running_still_shows_and_the_rest_makes_room() -> None:
    shares: dict[StateName, float] = {"running": 0.01, "blocking": 0.09, "waiting": 0.9}

    assert with_running(shares, 0.109) == pytest.approx({"running": 0.109, "blocking": 0.081, "waiting": 0.81})
    assert with_running(shares, 0.005) == shares
    assert with_running({"ready": 1.0}, 0.1) == {"ready": 1.0}


def test_a_mix_has_the_true_shares() -> None:
    fine = [
        stretch
        for start in range(0, 4000, 100)
        for stretch in (Stretch("running", start, start + 1), Stretch("waiting", start + 1, start + 100))
    ]

    _, mixes = unmixed(fine, 1000)

    assert [mix.shares for mix in mixes] == [pytest.approx({"running": 0.01, "waiting": 0.99})] * 4


def test_a_gap_is_no_state() -> None:
    fine = [Stretch("running", start, start + 50) for start in range(0, 1000, 100)]

    _, mixes = unmixed(fine, 100)

    assert mixes[0].shares == pytest.approx({"running": 0.5}, abs=0.05)


def test_far_apart_fine_stretches_are_not_a_crowd() -> None:
    stretches = [Stretch("running", start, start + 1) for start in range(0, 10_000, 1000)]

    assert unmixed(stretches, 100) == (stretches, [])
