"""Learn that a module of the standard library gets imported, without importing it for the program.

A finder at the front of `sys.meta_path` sees the names; for one that is watched it finds the module as the finders
behind it would, and has its loader tell us afterwards. The module keeps its own loader and spec.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

from asynctrace.probes.failure import Guard
from asynctrace.probes.tracebacks import drop_our_frame


class ImportWatch:
    """Calls a function with a module as soon as it is imported: at once when it is already.

    Args:
        callbacks: By the name of the module.
        guard: What a failure of ours is told to.
    """

    def __init__(self, callbacks: dict[str, Callable[[ModuleType], None]], guard: Guard) -> None:
        self._callbacks = dict(callbacks)
        self._guard = guard

    def install(self) -> None:
        """Watch for what is not imported yet."""
        for name in list(self._callbacks):
            module = sys.modules.get(name)
            # One that another thread is importing right now is in there too, unfinished.
            if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
                self._callbacks.pop(name)(module)
        if self._callbacks:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Watch no more."""
        self._callbacks.clear()
        self._take_out()

    def _take_out(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a watched module as the finders behind this one do."""
        if name not in self._callbacks:
            return None
        finders: list[Any] = list(sys.meta_path)
        behind = finders[finders.index(self) + 1 :] if self in finders else []  # else: taken out meanwhile
        for finder in behind:
            spec: ModuleSpec | None = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                self._guard(self._watch_loading, spec, name)
                return spec
        return None

    def _watch_loading(self, spec: ModuleSpec, name: str) -> None:
        if hasattr(spec.loader, "exec_module"):
            spec.loader = cast("Any", _TellingLoader(spec.loader, self, name))

    def imported(self, name: str, module: ModuleType) -> None:
        """Tell who asked that the module is there."""
        callback = self._callbacks.pop(name, None)
        if not self._callbacks:
            self._take_out()
        if callback is not None:
            callback(module)


class _TellingLoader:
    """Loads a module by its own loader, and tells the watch."""

    def __init__(self, loader: Any, watch: ImportWatch, name: str) -> None:
        self._loader = loader
        self._watch = watch
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        # From here on the module's own loader is the only one to be seen.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        try:
            self._loader.exec_module(module)
        except BaseException as error:
            drop_our_frame(error)
            raise
        self._watch._guard(self._watch.imported, self._name, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
