"""What the packages export is complete, in order, and documented."""

from __future__ import annotations

import inspect
import re
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

import pytest

import supervisor
import supervisor.adapters
import supervisor.health
import supervisor.inspector
import supervisor.logs
import supervisor.opentelemetry
import supervisor.prometheus
import supervisor.systemd
import supervisor.testing
import supervisor.tree_events
import trio_event
import trio_event.abc
import trio_event.etcd

if TYPE_CHECKING:
    from collections.abc import Iterator

FACADES = (supervisor, supervisor.logs, trio_event, trio_event.etcd)
PUBLIC = (
    *FACADES,
    supervisor.adapters,
    supervisor.health,
    supervisor.inspector,
    supervisor.opentelemetry,
    supervisor.prometheus,
    supervisor.systemd,
    supervisor.testing,
    supervisor.tree_events,
    trio_event.abc,
)
# The order in which CONTRIBUTING.md has the sections of a docstring.
SECTIONS = (
    "Args",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Checkpoints",
    "Cancellation",
    "Example",
)

over_public_modules = pytest.mark.parametrize(
    "module", PUBLIC, ids=[module.__name__ for module in PUBLIC]
)


@over_public_modules
def test_all_is_a_sorted_tuple(module: ModuleType) -> None:
    """Constants come first, then classes, then functions, each by name."""
    assert isinstance(module.__all__, tuple)
    assert list(module.__all__) == sorted(
        set(module.__all__), key=lambda name: (not name.isupper(), name[0].islower(), name)
    )


@over_public_modules
def test_all_names_exist(module: ModuleType) -> None:
    """`from module import *` brings exactly the names in `__all__`."""
    names: dict[str, object] = {}
    exec(f"from {module.__name__} import *", names)  # noqa: S102  only a module can say it
    del names["__builtins__"]
    assert names == {name: getattr(module, name) for name in module.__all__}


@pytest.mark.parametrize("module", FACADES, ids=[module.__name__ for module in FACADES])
def test_all_forgets_no_public_name(module: ModuleType) -> None:
    """A package's own names without an underscore are in `__all__`, or are modules."""
    public = {
        name
        for name, what in vars(module).items()
        if not name.startswith("_") and not isinstance(what, ModuleType) and name != "annotations"
    }
    assert public == set(module.__all__)


def test_all_of_testing_forgets_nothing_that_it_defines() -> None:
    """The classes and functions that `supervisor.testing` defines are in its `__all__`."""
    defined = {
        name
        for name, what in vars(supervisor.testing).items()
        if not name.startswith("_") and getattr(what, "__module__", None) == "supervisor.testing"
    }
    assert defined - {"ArgsT"} == set(supervisor.testing.__all__)


@over_public_modules
def test_everything_public_is_documented(module: ModuleType) -> None:
    """Each exported class and function, and each public method and property, says what it is."""
    assert module.__doc__
    assert [name for name, what in documentable(module) if not what.__doc__] == []


@over_public_modules
def test_the_first_line_of_a_docstring_is_a_sentence(module: ModuleType) -> None:
    """It fits into a list of names, and ends with a full stop."""
    for name, what in documentable(module):
        first = (what.__doc__ or "").partition("\n")[0]
        assert len(first) <= 88, name
        assert first.endswith("."), name


@over_public_modules
def test_an_async_function_says_where_it_checkpoints(module: ModuleType) -> None:
    """It tells when it is a checkpoint, and what holds when it is cancelled there."""
    for name, what in documentable(module):
        if is_async(what):
            assert {"Checkpoints", "Cancellation"} <= set(sections(what)), name


@pytest.mark.parametrize("module", FACADES, ids=[module.__name__ for module in FACADES])
def test_a_synchronous_function_says_that_it_is_no_checkpoint(module: ModuleType) -> None:
    """Who calls it need not wonder whether the world changes meanwhile.

    `main` is the exception: it is not called in a Trio run, but makes one.
    """
    for name in set(module.__all__) - {"main"}:
        function = getattr(module, name)
        if isinstance(function, FunctionType) and not is_async(function):
            assert "Checkpoints" in sections(function), name


@over_public_modules
def test_sections_have_the_order_of_the_template(module: ModuleType) -> None:
    """Readers find each section where they found it last time."""
    for name, what in documentable(module):
        found = sections(what)
        assert found == sorted(set(found), key=SECTIONS.index), name


def documentable(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Walk through what has to have a docstring: it is exported, or a part of what is."""
    for name in module.__all__:
        exported = getattr(module, name)
        if isinstance(exported, type | FunctionType):
            yield name, exported
        if isinstance(exported, type):
            for part, what in vars(exported).items():
                if not part.startswith("_") and isinstance(what, FunctionType | property):
                    yield f"{name}.{part}", what


def is_async(what: object) -> bool:
    """Return whether a call of this is awaited, or is entered by ``async with``."""
    if not isinstance(what, FunctionType):
        return False
    original = inspect.unwrap(what)
    return inspect.iscoroutinefunction(original) or inspect.isasyncgenfunction(original)


def sections(what: object) -> list[str]:
    """Return the titles of the sections in a docstring."""
    lines = inspect.cleandoc(what.__doc__ or "").splitlines()
    return [found[1] for line in lines if (found := re.fullmatch(r"([A-Z][a-z]+)::?", line))]
