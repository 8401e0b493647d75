from asynctrace.analysis.intervals import intersect, length, merged, subtract


def test_merged_joins_what_overlaps_or_touches_and_drops_what_is_empty() -> None:
    assert merged([(5, 7), (0, 2), (1, 3), (3, 4), (9, 9)]) == [(0, 4), (5, 7)]


def test_subtract_leaves_what_lies_in_no_hole() -> None:
    assert subtract([(0, 10), (20, 30)], [(2, 4), (8, 22), (29, 40)]) == [(0, 2), (4, 8), (22, 29)]


def test_a_hole_reaches_over_several_intervals() -> None:
    assert subtract([(0, 2), (4, 6), (8, 10)], [(1, 9)]) == [(0, 1), (9, 10)]


def test_intersect_is_what_lies_in_both() -> None:
    assert intersect([(0, 10), (20, 30)], [(5, 25)]) == [(5, 10), (20, 25)]


def test_length_is_the_sum() -> None:
    assert length([(0, 2), (5, 10)]) == 7
