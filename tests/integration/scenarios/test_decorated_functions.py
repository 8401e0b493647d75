"""Decorated functions stay what they are: for inspect, pickle, partials, methods, and in tracebacks."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import typing
from collections.abc import AsyncIterator
from typing import Any

import pytest
from integration.both_ways import Run, both_ways, task_of
from integration.trace_rules import check

import asynctrace


def plain_decorator(function: Any) -> Any:
    import functools

    @functools.wraps(function)
    def wrapper(*args: Any, **keywords: Any) -> Any:
        return function(*args, **keywords)

    return wrapper


@asynctrace.traced
async def module_level(number: int, *, more: str = "") -> int:
    """Return the number."""
    await asyncio.sleep(0)
    return number


class Service:
    @asynctrace.traced(name="ask", attributes={"tier": "gold"})
    async def method(self, value: int) -> int:
        await asyncio.sleep(0)
        return value

    @classmethod
    @asynctrace.traced
    async def of_class(cls, value: int) -> int:
        return value

    @asynctrace.traced
    @staticmethod
    async def static(value: int) -> int:
        return value

    @asynctrace.traced
    async def stream(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    @asynctrace.traced
    def plain(self, value: int) -> int:
        return value

    @plain_decorator
    @asynctrace.traced
    async def under_another(self) -> str:
        return "under"

    @asynctrace.traced
    @plain_decorator
    async def over_another(self) -> str:
        return "over"


def test_decorated_functions_of_every_kind_run_and_are_recorded(run: Run) -> None:
    async def main() -> list[Any]:
        service = Service()
        values = [number async for number in service.stream(2)]
        return [
            await module_level(1),
            await service.method(2),
            await Service.of_class(3),
            await Service.static(4),
            values,
            service.plain(5),
            await service.under_another(),
            await service.over_another(),
        ]

    assert run(main()) == [1, 2, 3, 4, [0, 1], 5, "under", "over"]
    trace = both_ways(lambda: run(main()))

    check(trace)
    traced = {each.name.rsplit(".", 1)[-1]: each for each in trace.coroutines if each.is_traced}
    assert {"module_level", "ask", "of_class", "static", "stream", "under_another", "over_another"} <= traced.keys()
    assert traced["ask"].attributes == {"tier": "gold"}
    assert {each.outcome for each in traced.values()} == {"returned"}
    assert [call.name for call in trace.calls if call.kind == "traced"] == ["Service.plain"]


def test_decorated_functions_keep_what_inspect_and_pickle_see() -> None:
    assert inspect.iscoroutinefunction(module_level)
    assert inspect.iscoroutinefunction(Service.method) and inspect.iscoroutinefunction(Service().of_class)
    assert inspect.iscoroutinefunction(Service.static)
    assert inspect.isasyncgenfunction(Service.stream)
    assert not inspect.iscoroutinefunction(Service.plain)
    assert str(inspect.signature(module_level)) == "(number: 'int', *, more: 'str' = '') -> 'int'"
    assert module_level.__name__ == "module_level" and module_level.__doc__ == "Return the number."
    assert pickle.loads(pickle.dumps(module_level)) is module_level


def test_coroutines_of_decorated_functions_pass_for_coroutines_while_recording() -> None:
    def program() -> list[Any]:
        coroutine = module_level(1)
        found = [
            asyncio.iscoroutine(coroutine),
            inspect.iscoroutine(coroutine),
            inspect.isawaitable(coroutine),
            inspect.getcoroutinestate(coroutine),
            coroutine.__qualname__,
            coroutine.cr_code.co_name,
            repr(coroutine),
        ]
        coroutine.close()
        generator = Service().stream(1)
        return [*found, inspect.isasyncgen(generator), hasattr(generator, "aclose")]

    both_ways(program)


def test_errors_of_decorated_functions_have_the_same_tracebacks(run: Run) -> None:
    @asynctrace.traced
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    @asynctrace.traced
    async def generates() -> AsyncIterator[int]:
        yield 1
        raise KeyError("after one")

    @asynctrace.traced
    def plain_failure() -> None:
        raise LookupError("plain")

    async def main() -> list[Any]:
        errors: list[Any] = []
        for attempt in (fails, lambda: anext(generates()), plain_failure):
            try:
                result = attempt()
                if result is not None:
                    await result
            except Exception as error:
                errors.append(error)
        try:
            async for _ in generates():
                pass
        except KeyError as error:
            errors.append(error)
        return errors

    both_ways(lambda: run(main()))


def undecorated(function: Any) -> Any:
    """Return a function like those of the decorated, without the decorator."""
    return function


def kinds_of_functions(decorate: Any) -> dict[str, Any]:
    @decorate
    async def coroutine(number: int, /, *rest: str, key: bool = True, **others: Any) -> int:
        """Say something."""
        await asyncio.sleep(0)
        return number

    @decorate
    async def generator(number: int = 1) -> AsyncIterator[int]:
        yield number

    @decorate
    def plain(number: int) -> int:
        return number

    class Holder:
        @decorate
        async def method(self, number: int) -> int:
            return number

        @classmethod
        @decorate
        async def of_class(cls, number: int) -> int:
            return number

        @decorate
        @classmethod
        async def class_over(cls, number: int) -> int:
            return number

        @staticmethod
        @decorate
        async def static(number: int) -> int:
            return number

        @decorate
        @staticmethod
        async def static_over(number: int) -> int:
            return number

        @property
        @decorate
        def attribute(self) -> int:
            return 5

        @decorate
        async def __aenter__(self) -> str:
            return "entered"

        @decorate
        async def __aexit__(self, *error: Any) -> None:
            return None

    holder = Holder()
    return {
        "coroutine": coroutine,
        "generator": generator,
        "plain": plain,
        "method": holder.method,
        "unbound": Holder.method,
        "of_class": Holder.of_class,
        "class_over": holder.class_over,
        "static": Holder.static,
        "static_over": holder.static_over,
        "partial": functools.partial(coroutine, 1),
        "partial of a partial": functools.partial(functools.partial(holder.method), 2),
        "enter": holder.__aenter__,
    }


def test_inspect_and_asyncio_see_the_same_of_decorated_functions() -> None:
    def described(decorate: Any) -> dict[str, list[Any]]:
        return {
            name: [
                inspect.iscoroutinefunction(function),
                inspect.isasyncgenfunction(function),
                inspect.isfunction(function),
                inspect.ismethod(function),
                str(inspect.signature(function)),
                inspect.getdoc(function) if name != "partial" else None,
                getattr(function, "__name__", None),
                getattr(function, "__qualname__", None),
                getattr(function, "__module__", None),
                callable(function),
                type(function).__name__,
                getattr(function, "__defaults__", None),
                getattr(function, "__kwdefaults__", None),
                inspect.getsourcelines(inspect.unwrap(function))[0] if name == "coroutine" else None,
                typing.get_type_hints(function) if name == "plain" else None,
            ]
            for name, function in kinds_of_functions(decorate).items()
        }

    plain, decorated = described(undecorated), described(asynctrace.traced)
    if "__wrapped__" not in dir(kinds_of_functions(asynctrace.traced)["coroutine"]):
        assert decorated == plain  # from 3.12 on it is the very function
    for name in plain:
        for index, (expected, actual) in enumerate(zip(plain[name], decorated[name], strict=True)):
            if index in (11, 12):
                continue  # a wrapper of 3.11 takes its defaults from what it wraps
            assert actual == expected, (name, index)


def test_decorated_functions_run_the_same_in_every_form(run: Run) -> None:
    async def main(functions: dict[str, Any]) -> list[Any]:
        found: list[Any] = [functions["plain"](1)]
        found.extend([number async for number in functions["generator"](3)])
        names = ("coroutine", "method", "of_class", "class_over", "static", "static_over")
        found.extend([await functions[name](7) for name in names])
        found.append(await functions["partial"]())
        found.append(await functions["partial of a partial"]())
        found.append(await asyncio.create_task(functions["coroutine"](9)))
        for name in ("coroutine", "generator", "method"):
            with pytest.raises(TypeError) as caught:
                functions[name](1, 2, 3, unknown=4) if name != "coroutine" else functions[name]()
            found.append(str(caught.value))
        return found

    expected = run(main(kinds_of_functions(undecorated)))
    functions = kinds_of_functions(asynctrace.traced)
    trace = both_ways(lambda: run(main(functions)))

    check(trace)
    assert run(main(functions)) == expected
    assert task_of(trace, "main").outcome == "returned"
    traced = [each.name.rsplit(".", 1)[-1] for each in trace.coroutines if each.is_traced]
    assert traced == [
        *("generator", "coroutine", "method", "of_class", "class_over", "static", "static_over"),
        *("coroutine", "method", "coroutine"),
    ]
    assert [call.name.rsplit(".", 1)[-1] for call in trace.calls if call.kind == "traced"] == ["plain"]


def test_decorated_functions_copy_pickle_and_hash_as_themselves() -> None:
    assert copy.copy(module_level) is module_level and copy.deepcopy(module_level) is module_level
    assert {module_level: 1}[module_level] == 1
    for thing in (module_level, functools.partial(module_level, 1), Service.method, Service().of_class):
        again = pickle.loads(pickle.dumps(thing))
        assert repr(again).split(" at ")[0] == repr(thing).split(" at ")[0]
    assert pickle.loads(pickle.dumps(functools.partial(module_level, 3))).func is module_level


def test_a_decorated_coroutine_is_dropped_closed_and_thrown_into_the_same(run: Run) -> None:
    @asynctrace.traced
    async def child() -> int:
        try:
            await asyncio.sleep(0)
        except ValueError:
            return 8
        return 7

    async def main() -> list[Any]:
        found: list[Any] = []
        child()  # never awaited
        closed = child()
        closed.close()
        begun = child()
        begun.send(None)
        begun.close()
        thrown = child()
        thrown.send(None)
        try:
            thrown.throw(ValueError())
        except StopIteration as stop:
            found.append(stop.value)
        with pytest.raises(RuntimeError) as caught:
            thrown.send(None)
        found.append(str(caught.value))
        with pytest.raises(RuntimeError) as caught:
            await thrown
        found.append(str(caught.value))
        unborn = child()
        with pytest.raises(KeyError):
            unborn.throw(KeyError("before it began"))
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert [each.outcome for each in trace.coroutines if each.is_traced] == ["closed", "returned", "raised"]


def test_decorating_twice_records_once(run: Run) -> None:
    @asynctrace.traced
    @asynctrace.traced(name="twice")
    async def child() -> int:
        return 1

    @asynctrace.traced
    @asynctrace.traced
    def plain() -> int:
        return 2

    async def main() -> list[int]:
        return [await child(), plain()]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert len([each for each in trace.coroutines if each.is_traced]) == 1
    assert len([call for call in trace.calls if call.kind == "traced"]) == 1
