"""Hypothesis strategies for parts: any that the format can hold, and those that a program could have recorded."""

from __future__ import annotations

import itertools
import random

from hypothesis import strategies as st

from asynctrace import events as kinds
from asynctrace.events import Event, Expression, Part, Site, ThreadInfo

START_NS = 10**15

# Everything a name of a program can hold: quotes, line breaks, emoji, bytes that were no UTF-8 (lone surrogates).
texts = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["", 'a "quoted" name', "two\nlines", "🧵 emoji", "caf\udce9", "\ud800", "nul\0nul", "x" * 600]
)
_numbers = st.integers(0, 300) | st.integers(0, (1 << 63) - 1)
_keys = st.integers(0, 5) | _numbers
_values = texts | st.integers() | st.floats(allow_nan=False) | st.booleans()

_events = st.tuples(
    st.integers(START_NS, START_NS + 1000) | st.integers(0, (1 << 63) - 1),
    st.integers(1, 3) | _numbers,
    st.sampled_from(sorted(kinds.KIND_NAMES.keys() & range(1, 26))) | st.integers(0, 1000),
    st.integers(0, 8) | st.integers(100 << 32, (100 << 32) + 8) | _numbers,
    st.integers(0, 8) | _numbers,
    st.integers(0, 5) | _numbers,
    st.integers(0, 511) | _numbers,
)
_sites = st.builds(
    Site,
    name=texts,
    file=texts,
    line=st.integers(0, 10**6),
    is_user=st.booleans(),
    is_traced=st.booleans(),
    attributes=st.lists(st.tuples(texts, _values), max_size=3).map(tuple),
)

any_parts = st.builds(
    Part,
    pid=st.integers(0, 1 << 31),
    process_name=texts,
    parent_pid=st.integers(0, 1 << 31),
    python=texts,
    start_ns=st.just(START_NS) | _numbers,
    end_ns=_numbers,
    wall_ns=_numbers,
    cpu_ns=_numbers,
    program=texts,
    sees_coroutines=st.booleans(),
    threads=st.dictionaries(_keys, st.builds(ThreadInfo, texts, st.integers(0, 1 << 32), st.booleans()), max_size=3),
    names=st.dictionaries(_keys, texts, max_size=3),
    sites=st.dictionaries(_keys, _sites, max_size=4),
    expressions=st.dictionaries(
        st.tuples(_keys, _keys), st.builds(Expression, texts, st.integers(0, 10**6)), max_size=3
    ),
    stacks=st.dictionaries(_keys, st.lists(st.tuples(_keys, _keys), max_size=4).map(tuple), max_size=3),
    # A part's events are stably sorted by time: so the recorder leaves them, and so a file keeps them.
    events=st.lists(_events, max_size=40).map(lambda events: sorted(events, key=lambda event: event[0])),
    notes=st.lists(texts, max_size=2, unique=True).map(tuple),
    is_root=st.booleans(),
)
"""Parts of any content, senseless event streams among them."""


class _Program:
    """A made-up program whose loop does one random thing after the other, and what a recorder sees of it."""

    def __init__(self, chance: random.Random, pid: int) -> None:
        self.chance = chance
        self.pid = pid
        self.new_id = itertools.count((pid << 32) + 1).__next__
        self.loop = self.new_id()
        self.time_ns = START_NS
        self.sites = {1: Site("Future"), 2: Site("ValueError")}
        self.expressions: dict[tuple[int, int], Expression] = {}
        self.names: dict[int, str] = {}
        self.events: list[Event] = []
        self.frames: dict[int, list[tuple[int, int]]] = {}  # task -> its await chain, outermost first: (id, site)
        self.roots: dict[int, int] = {}
        self.ready: list[int] = []
        self.waiting: list[int] = []
        self.generators: list[tuple[int, int]] = []  # that stand at a yielded value
        self.is_generator: set[int] = set()
        self.add(kinds.LOOP_SEEN, self.loop, 0, 1)

    def add(self, kind: int, subject: int, other: int = 0, site: int = 0, flags: int = 0) -> None:
        self.time_ns += self.chance.choice((0, 1, 7, 1000, 20_000_000))
        self.events.append((self.time_ns, 1, kind, subject, other, site, flags))

    def code(self) -> int:
        key = len(self.sites) + 1
        is_user = self.chance.random() < 0.7
        self.sites[key] = Site(f"code{key}", "app.py" if is_user else "/lib/tasks.py", key, is_user)
        self.expressions[key, 4] = Expression(f"await thing{key}()", key + 1)
        return key

    def create(self, creator: int) -> None:
        task = self.new_id()
        self.names[task] = f"Task-{task & 0xFFFF}"
        self.roots[task] = self.code()
        self.frames[task] = []
        self.add(kinds.TASK_CREATED, task, creator, self.roots[task])
        self.add(kinds.TASK_READY, task, creator, 0, kinds.CAUSE_TASK if creator else 0)
        self.ready.append(task)

    def start(self, task: int, site: int) -> None:
        chain = self.frames[task]
        coroutine = self.new_id()
        flags = kinds.ASYNC_GENERATOR if chain and self.chance.random() < 0.3 else 0
        self.add(kinds.COROUTINE_STARTED, coroutine, chain[-1][0] if chain else 0, site, flags)
        chain.append((coroutine, site))
        if flags:
            self.is_generator.add(coroutine)
        if flags and self.chance.random() < 0.7:
            self.add(kinds.COROUTINE_SUSPENDED, coroutine, 0, 4, kinds.YIELDED)
            self.generators.append(chain.pop())

    def finish(self, task: int, outcome: int) -> None:
        coroutine, _ = self.frames[task].pop()
        self.add(kinds.COROUTINE_FINISHED, coroutine, 0, 2 if outcome == kinds.RAISED else 0, outcome)

    def step(self, task: int) -> None:
        chance, chain = self.chance, self.frames[task]
        is_thrown = bool(chain) and chance.random() < 0.15
        self.add(kinds.STEP_STARTED, task, self.loop, 0, kinds.THROWN if is_thrown else 0)
        if is_thrown:
            # From the innermost outward, and only as far as the exception goes.
            for _ in range(chance.randint(1, len(chain))):
                self.add(kinds.COROUTINE_RESUMED, chain[-1][0], 0, 0, kinds.THROWN)
                if len(chain) == 1 or chance.random() < 0.5:
                    break
                self.finish(task, kinds.CANCELLED)
        elif chain:
            for coroutine, _ in chain:
                self.add(kinds.COROUTINE_RESUMED, coroutine)
        else:
            self.start(task, self.roots[task])
        for _ in range(chance.randint(0, 4)):
            self.act(task)
        if chance.random() < 0.3:
            outcome = chance.choice((kinds.RETURNED, kinds.RAISED, kinds.CANCELLED))
            while chain:
                self.finish(task, outcome)
            del self.frames[task]
            self.add(kinds.STEP_FINISHED, task, 0, 2 if outcome == kinds.RAISED else 0, outcome)
            return
        yields = chance.random() < 0.3
        for coroutine, _ in reversed(chain):
            # Of a generator the flag tells a value from an await, even of a bare yield.
            is_bare = yields and coroutine not in self.is_generator
            self.add(kinds.COROUTINE_SUSPENDED, coroutine, 0, 4, kinds.YIELDED if is_bare else 0)
        if yields:
            self.add(kinds.TASK_READY, task, task, 0, kinds.CAUSE_TASK)
            self.ready.append(task)
        else:
            self.waiting.append(task)
        self.add(kinds.STEP_FINISHED, task, 0, 0 if yields else 1, kinds.YIELDED if yields else 0)

    def act(self, task: int) -> None:
        chain = self.frames[task]
        action = self.chance.randrange(6)
        if action == 0:
            self.create(task)
        elif action == 1 and len(chain) > 1:
            self.finish(task, kinds.RETURNED)
        elif action == 2 and self.generators:
            coroutine, site = self.generators.pop(self.chance.randrange(len(self.generators)))
            self.add(kinds.COROUTINE_RESUMED, coroutine)
            chain.append((coroutine, site))
        elif action == 3 and self.waiting:
            self.wake(task)
        elif action == 4:
            call = self.new_id()
            self.add(kinds.CALL_STARTED, call, 0, self.code())
            self.add(kinds.BLOCKING_STARTED, task, 0, 1)
            self.add(kinds.BLOCKING_FINISHED, task)
            self.add(kinds.CALL_FINISHED, call, 12345, 0, kinds.RETURNED)
        else:
            self.start(task, self.code())

    def wake(self, cause: int) -> None:
        task = self.waiting.pop(self.chance.randrange(len(self.waiting)))
        self.add(kinds.TASK_READY, task, cause, 0, kinds.CAUSE_TASK if cause else kinds.CAUSE_TIMER)
        self.ready.append(task)

    def run(self, actions: int) -> Part:
        self.create(0)
        for _ in range(actions):
            if self.ready:
                self.step(self.ready.pop(0))
            elif self.waiting:
                self.add(kinds.LOOP_IDLE_STARTED, self.loop)
                self.add(kinds.LOOP_IDLE_FINISHED, self.loop)
                self.wake(0)
            else:
                self.create(0)
        return Part(
            pid=self.pid,
            process_name="MainProcess",
            parent_pid=1,
            python="CPython 3.13.0",
            start_ns=START_NS,
            end_ns=self.time_ns + 1,
            wall_ns=1_700_000_000_000_000_000,
            cpu_ns=1_000_000,
            program="app.py",
            sees_coroutines=True,
            threads={1: ThreadInfo("MainThread", self.pid, True)},
            names=self.names,
            sites=self.sites,
            expressions=self.expressions,
            events=self.events,
        )


def program_parts(pid: int = 100, max_steps: int = 25) -> st.SearchStrategy[Part]:
    """Parts that a program with one loop could have recorded; every coroutine has a code of its own."""
    return st.builds(
        lambda chance, steps: _Program(chance, pid).run(steps),
        st.randoms(use_true_random=False),
        st.integers(1, max_steps),
    )


def example_part(steps: int = 40, seed: int = 1, pid: int = 100) -> Part:
    """Return one such part, the same for the same arguments."""
    return _Program(random.Random(seed), pid).run(steps)
