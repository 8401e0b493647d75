"""The demo's scripts are kept once more in examples/, where people look for them."""

from pathlib import Path

import pytest

import asynctrace

PACKAGED = Path(asynctrace.__file__).parent / "demo"
EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["blocking.py", "gather.py", "processes.py", "threaded.py"]


@pytest.mark.parametrize("name", NAMES)
def test_the_packaged_script_and_the_example_are_the_same(name: str) -> None:
    assert (PACKAGED / name).read_bytes() == (EXAMPLES / name).read_bytes()


def test_no_other_script_is_packaged() -> None:
    assert sorted(path.name for path in PACKAGED.glob("*.py")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_scripts_know_nothing_of_us(name: str) -> None:
    assert "asynctrace" not in (PACKAGED / name).read_text(encoding="utf-8")
