"""What the wheel holds, and that it is the wheel that is being tested.

The session ``tests`` of nox says in ``TESTED_WHEEL`` which wheel it has installed. Without it
the wheel is built here, and the tests may be running on the checkout.
"""

from __future__ import annotations

import configparser
import email.parser
import importlib
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

import supervisor
import trio_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

ROOT = Path(__file__).parent.parent
TESTED_WHEEL = os.environ.get("TESTED_WHEEL")

# What PyPI's `supervisor` 4.3.0 installs in the folder `supervisor/`. The one file that both
# have to own is `__init__.py`; tests/test_clash.py has what follows from that.
THEIRS = frozenset(
    {
        "childutils.py",
        "compat.py",
        "confecho.py",
        "datatypes.py",
        "dispatchers.py",
        "events.py",
        "http.py",
        "http_client.py",
        "loggers.py",
        "medusa",
        "options.py",
        "pidproxy.py",
        "poller.py",
        "process.py",
        "rpcinterface.py",
        "scripts",
        "skel",
        "socket_manager.py",
        "states.py",
        "supervisorctl.py",
        "supervisord.py",
        "templating.py",
        "tests",
        "ui",
        "version.txt",
        "web.py",
        "xmlrpc.py",
    }
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Open the wheel."""
    if TESTED_WHEEL is not None:
        path = Path(TESTED_WHEEL)
    else:
        pytest.importorskip("hatchling", reason="there is no wheel, and nothing to build one with")
        folder = tmp_path_factory.mktemp("wheel")
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """Read the metadata of the wheel."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.parser.Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """Read the project's table in pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Top-level names are those of the two import packages, and of the metadata."""
    top = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    packages = {name for name in top if not name.endswith(".dist-info")}
    assert packages == {"supervisor", "trio_event"}
    assert len(top) == 3


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    """No module is forgotten, and no stray file gets in."""
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    present = {
        path.relative_to(ROOT).as_posix()
        for package in ("supervisor", "trio_event")
        for pattern in ("*.py", "page/*", "py.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    assert shipped == present


@pytest.mark.parametrize("package", ["supervisor", "trio_event"])
def test_both_packages_are_marked_as_typed(wheel: zipfile.ZipFile, package: str) -> None:
    """Type checkers read the packages' annotations."""
    assert f"{package}/py.typed" in wheel.namelist()


def test_no_module_lies_where_supervisord_has_one(wheel: zipfile.ZipFile) -> None:
    """Installed over or under PyPI's `supervisor`, no file but `__init__.py` is shared."""
    paths = [PurePosixPath(name).parts for name in wheel.namelist()]
    ours = {parts[1] for parts in paths if parts[0] == "supervisor"}
    assert ours.isdisjoint(THEIRS)
    # A package would hide a module of the same name, and the other way round.
    assert {Path(name).stem for name in ours}.isdisjoint(Path(name).stem for name in THEIRS)


def test_the_metadata_names_the_distribution(metadata: Message, project: dict[str, Any]) -> None:
    """Name, version and Python are as declared; the name is not that of supervisord."""
    assert metadata["Name"] == "trio-supervisor"
    assert metadata["Version"] == project["version"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_wheel_has_one_command(wheel: zipfile.ZipFile, project: dict[str, Any]) -> None:
    """It is called like the distribution, and like none of supervisord's."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    table = configparser.ConfigParser()
    table.read_string(wheel.read(name).decode())
    assert table.sections() == ["console_scripts"]
    assert dict(table["console_scripts"]) == project["scripts"]
    assert list(project["scripts"]) == ["trio-supervisor"]
    module, _, function = project["scripts"]["trio-supervisor"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_core_needs_trio_attrs_and_outcome_only(
    metadata: Message, project: dict[str, Any]
) -> None:
    """Everything beyond the three is an extra."""
    required = [_split(line) for line in metadata.get_all("Requires-Dist", [])]
    core = {requirement for requirement, extra in required if not extra}
    assert {requirement.partition(">=")[0] for requirement in core} == {"attrs", "outcome", "trio"}
    assert core == set(project["dependencies"])
    extras = {
        (str(Requirement(requirement)), f"extra == '{extra}'")
        for extra, requirements in project["optional-dependencies"].items()
        for requirement in requirements
    }
    assert {(requirement, extra) for requirement, extra in required if extra} == extras


@pytest.mark.skipif(TESTED_WHEEL is None, reason="there is a wheel to compare with under nox only")
def test_it_is_the_wheel_that_is_tested(wheel: zipfile.ZipFile) -> None:
    """What is imported lies in site-packages, byte for byte as in the wheel."""
    site_packages = Path(sysconfig.get_path("purelib"))
    for module in (supervisor, trio_event):
        assert module.__file__ is not None
        assert Path(module.__file__).parent == site_packages / module.__name__
    for name in wheel.namelist():
        if ".dist-info/" not in name:
            assert (site_packages / name).read_bytes() == wheel.read(name), name


def _split(requirement: str) -> tuple[str, str]:
    """Split a requirement from its condition."""
    what, _, condition = requirement.partition("; ")
    return what, condition
