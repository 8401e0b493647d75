"""Where a task waited, as it is told."""

import pytest

from asynctrace.events import Expression, Part, Site
from asynctrace.model.waits import user_place

_ASYNCIO = "/usr/lib/python3.13/asyncio/tasks.py"
SITES = {
    1: Site("main", "/home/me/app.py", 3, is_user=True),
    2: Site("_run_app", "/usr/lib/python3.13/site-packages/aiohttp/web.py", 297),
    3: Site("sleep", _ASYNCIO, 703),
    4: Site("wait_for", _ASYNCIO, 500),
}
EXPRESSIONS = {
    (1, 0): Expression("serve()", 4),
    (2, 0): Expression("asyncio.sleep(delay)", 300),
    (3, 0): Expression("future", 712),
    (4, 0): Expression("fut", 507),
}


@pytest.mark.parametrize(
    ("chain", "expression"),
    [
        ((1, 2, 3), "serve()"),
        ((2, 1, 3), "serve()"),
        ((2, 3), "asyncio.sleep(delay)"),
        ((2, 4, 3), "asyncio.sleep(delay)"),
        ((4, 3), "future"),
        ((9,), None),
        ((), None),
    ],
)
def test_a_wait_is_told_by_the_users_await_else_by_that_of_a_library(
    chain: tuple[int, ...], expression: str | None
) -> None:
    part = Part(1, "MainProcess", 0, "3.13.0", 0, 9, 0, 0, "app.py", True, sites=SITES, expressions=EXPRESSIONS)

    found, file, line = user_place(part, [(site, 0) for site in chain])

    assert found == expression
    assert (file is None, line is None) == (expression is None, expression is None)
