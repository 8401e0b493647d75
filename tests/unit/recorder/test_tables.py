"""The tables beside the events: an entry lives as long as an event that names it."""

import gc
import threading
import weakref

from asynctrace.events import ThreadInfo
from asynctrace.recorder.tables import Tables


def make_code(name: str):  # type: ignore[no-untyped-def]
    namespace: dict[str, object] = {}
    exec(f"def {name}(): pass", namespace)
    return namespace[name].__code__  # type: ignore[attr-defined]


class State:
    pass


def test_what_no_event_names_is_forgotten_after_two_sweeps_and_gets_a_new_number() -> None:
    tables = Tables()
    code = make_code("handler")
    numbers = tables.site(code), tables.text("KeyError"), tables.stack(((7, 2),))
    assert (tables.site(code), tables.text("KeyError"), tables.stack(((7, 2),))) == numbers

    tables.sweep(set(), set())
    assert [tables.meaning(number) for number in numbers] == [code, "KeyError", ((7, 2),)]  # an event may be on its way
    assert tables.site(code) != numbers[0] and tables.text("KeyError") != numbers[1]

    tables.sweep(set(), set())
    assert [tables.meaning(number) for number in numbers] == [None, None, None]


def test_what_an_event_names_stays_also_when_it_came_between_two_sweeps() -> None:
    tables = Tables()
    kept, late = tables.text("kept"), tables.text("late")

    tables.sweep({kept}, set())
    tables.sweep({kept, late}, set())
    tables.sweep({kept, late}, set())

    assert (tables.meaning(kept), tables.meaning(late)) == ("kept", "late")
    assert tables.text("kept") == kept


def test_the_code_of_a_stack_that_is_named_stays() -> None:
    tables = Tables()
    code = make_code("root")
    site = tables.site(code)
    stack = tables.stack(((site, 4),))

    for _ in range(2):
        tables.sweep({stack}, set())

    described = tables.described(site)
    assert described is not None and described.name == "root"


def test_forgotten_code_is_freed_and_its_address_is_not_taken_for_it() -> None:
    tables = Tables()
    code = make_code("gone")
    ref = weakref.ref(code)
    tables.site(code)
    pinned = tables.pinned_site(make_code("pinned"))

    for _ in range(2):
        tables.sweep(set(), set())
    del code
    gc.collect()

    assert ref() is None
    assert len(tables.codes) == 1 and tables.described(pinned).name == "pinned"  # type: ignore[union-attr]


def test_a_thread_is_known_while_it_lives_or_is_named() -> None:
    tables = Tables()
    states = [State(), State(), State()]
    first, second, third = (tables.add_thread(state, ThreadInfo(f"thread {i}")) for i, state in enumerate(states))
    del states[1:]

    tables.sweep(set(), {second})

    assert tables.threads.keys() == {first, second}
    assert third not in tables.threads


def test_lookups_and_sweeps_at_once_never_leave_a_number_without_its_meaning() -> None:
    tables = Tables()
    wrong: list[str] = []
    is_over = threading.Event()

    def look_up() -> None:
        number = 0
        while not is_over.is_set():
            text = f"text {number % 50}"
            found = tables.text(text)
            if tables.meaning(found) not in (text, None):
                wrong.append(text)
            number += 1

    threads = [threading.Thread(target=look_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        tables.sweep(set(), set())
    is_over.set()
    for thread in threads:
        thread.join()

    assert wrong == [] and len(tables) <= 200
