import importlib
import sys
import traceback

import pytest

from asynctrace.probes.failure import Guard
from asynctrace.probes.imports import ImportWatch


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that can be imported; its name is new in each test."""
    names = []

    def write(source):
        name = f"watched_{tmp_path.name.replace('-', '_')}_{len(names)}"
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        names.append(name)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def watch():
    watches = []

    def make(callbacks):
        watches.append(ImportWatch(callbacks, Guard(lambda: None)))
        watches[-1].install()
        return watches[-1]

    yield make
    for each in watches:
        each.remove()


def test_tells_when_a_module_is_imported_and_goes(module, watch):
    name = module("value = 1\nseen = __loader__, __spec__.loader")
    told = []
    ours = watch({name: told.append})
    assert sys.meta_path[0] is ours
    imported = importlib.import_module(name)
    assert told == [imported]
    assert imported.value == 1
    assert ours not in sys.meta_path
    # Nothing of ours is to be seen in the module, nor was while it ran.
    loader = importlib.util.find_spec(name).loader
    assert type(loader).__module__ == "_frozen_importlib_external"
    assert imported.__loader__ is imported.__spec__.loader
    assert imported.seen == (imported.__loader__, imported.__loader__)
    assert imported.__spec__.cached == importlib.util.cache_from_source(imported.__file__)


def test_a_module_that_is_there_is_told_at_once(watch):
    told = []
    ours = watch({"traceback": told.append})
    assert told == [traceback]
    assert ours not in sys.meta_path


def test_two_watches_of_one_module(module, watch):
    name = module("")
    told = []
    watch({name: lambda module: told.append(1)})
    watch({name: lambda module: told.append(2)})
    importlib.import_module(name)
    assert sorted(told) == [1, 2]


def test_a_module_that_fails_fails_as_ever(module, watch):
    source = "raise ValueError('broken')"
    expected = module(source)
    name = module(source)
    found = []
    told = []
    watch({name: told.append})
    for each in (expected, name):
        try:
            __import__(each)
        except ValueError as error:
            found.append([line.replace(each, "module") for line in traceback.format_exception(error)])
    assert found[0] == found[1]
    assert told == []


def test_removed_it_is_gone(module, watch):
    name = module("")
    told = []
    ours = watch({name: told.append})
    ours.remove()
    importlib.import_module(name)
    assert ours not in sys.meta_path
    assert told == []


def test_another_name_is_none_of_its_business(watch):
    ours = watch({"no_such_module_anywhere": lambda module: None})
    assert ours.find_spec("json") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_anywhere")
