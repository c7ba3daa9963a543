"""Living beside PyPI's `supervisor`, which has an import package of the same name.

The processes that are started here find supervisord's package, or what is left of it, in
different places: a folder like it, which holds the one module that a user may ask for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import supervisor

# The folder in which our two packages are installed.
OURS = Path(supervisor.__path__[0]).parent
REMEDY = "python -m pip install --force-reinstall --no-deps trio-supervisor"
# Takes the installed packages away, so that what a test has put elsewhere is all there is.
WITHOUT_OURS = f"import sys; sys.path = [place for place in sys.path if place != {str(OURS)!r}]\n"
USE_BOTH = """
import supervisor, supervisor.supervisord, trio_event
assert supervisor.supervisord.NAME == "supervisord"
assert supervisor.run and trio_event.pipe
print(supervisor.__file__)
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Make a folder in which supervisord is installed."""
    folder = tmp_path / "theirs"
    make_theirs(folder)
    return folder


def make_theirs(folder: Path) -> None:
    """Install supervisord's package in a folder, over what is there."""
    package = folder / "supervisor"
    package.mkdir(parents=True, exist_ok=True)
    # First gone, because what is there may be a link.
    (package / "__init__.py").unlink(missing_ok=True)
    (package / "__init__.py").write_text("# this is a package\n")
    (package / "supervisord.py").write_text("NAME = 'supervisord'\n")


def make_ours(folder: Path) -> None:
    """Install our packages in a folder, over what is there: as links, so that they are measured."""
    for package in ("supervisor", "trio_event"):
        for source in (OURS / package).rglob("*.py"):
            link = folder / source.relative_to(OURS)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(source)


def dependencies(tmp_path: Path) -> Path:
    """Make a folder with what is installed beside Trio, but without our packages."""
    folder = tmp_path / "dependencies"
    folder.mkdir()
    for installed in Path(trio.__path__[0]).parent.iterdir():
        if installed.name not in {"supervisor", "trio_event"}:
            (folder / installed.name).symlink_to(installed)
    return folder


def run(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that looks for modules in these folders first."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def the_import_error(code: str, *path: Path) -> str:
    """Return the one line that the process says about why it can't import trio_event."""
    done = run(code, *path)
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last):") == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("ImportError: "))
    return line


def test_theirs_first_on_the_path_is_explained(theirs: Path) -> None:
    """One ImportError says where supervisord's package is, and what to type."""
    line = the_import_error("import trio_event", theirs, OURS)
    assert f"at {theirs / 'supervisor' / '__init__.py'} is not ours" in line
    assert "but supervisord's" in line
    assert REMEDY in line


def test_ours_first_on_the_path_lets_both_work(theirs: Path) -> None:
    """`import supervisor.supervisord` finds their module in the folder further down."""
    done = run(USE_BOTH, OURS, theirs)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()) == OURS / "supervisor" / "__init__.py"


def test_theirs_installed_over_ours_is_explained(tmp_path: Path) -> None:
    """In one folder, their `__init__.py` replaces ours; the rest of ours does not help."""
    make_ours(tmp_path)
    make_theirs(tmp_path)
    line = the_import_error("import trio_event", tmp_path)
    assert f"at {tmp_path / 'supervisor' / '__init__.py'} is not ours" in line
    assert REMEDY in line


def test_ours_installed_over_theirs_lets_both_work(tmp_path: Path) -> None:
    """In one folder, our `__init__.py` replaces theirs, which their modules don't need."""
    make_theirs(tmp_path)
    make_ours(tmp_path)
    done = run(USE_BOTH, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()) == tmp_path / "supervisor" / "__init__.py"


def test_what_their_uninstallation_leaves_is_explained(tmp_path: Path) -> None:
    """Uninstalling theirs takes our `__init__.py` along, and leaves a namespace package."""
    make_ours(tmp_path)
    (tmp_path / "supervisor" / "__init__.py").unlink()
    line = the_import_error(WITHOUT_OURS + "import trio_event", tmp_path, dependencies(tmp_path))
    assert f"at {tmp_path / 'supervisor'} is not ours" in line
    assert REMEDY in line


def test_no_supervisor_at_all_is_explained(tmp_path: Path) -> None:
    """Where there is no package of the name, the message says that."""
    make_ours(tmp_path)
    shutil.rmtree(tmp_path / "supervisor")
    line = the_import_error(WITHOUT_OURS + "import trio_event", tmp_path, dependencies(tmp_path))
    assert "there is no package `supervisor`" in line
    assert REMEDY in line
