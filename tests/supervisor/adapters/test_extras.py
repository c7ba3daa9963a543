"""What adapters need beyond the core is imported when they are called (S24)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from supervisor.adapters import restart_on_change

from ..helpers.runnables import idle


def test_the_package_imports_no_extra() -> None:
    """S24: it can be imported where none of them is installed."""
    program = (
        "import sys, supervisor.adapters\n"
        "assert not {'anyio', 'hypercorn', 'watchfiles'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_adapter_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """S24: the error names the adapter, what it needs and the command."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ImportError) as caught:
        restart_on_change(idle, "settings")
    assert str(caught.value) == (
        "restart_on_change() needs watchfiles: python -m pip install 'trio-supervisor[watch]'"
    )
    assert caught.value.name == "watchfiles"


def test_what_an_extra_itself_lacks_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """S24: to install the extra again would not help."""
    monkeypatch.delitem(sys.modules, "watchfiles", raising=False)
    monkeypatch.delitem(sys.modules, "watchfiles.main", raising=False)
    monkeypatch.setitem(sys.modules, "anyio", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        restart_on_change(idle, "settings")
    assert caught.value.name == "anyio"
