"""The script that CI runs takes the Pythons that the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("bash", "dirname", "grep", "mkdir", "mktemp", "mv", "rm", "sed", "sort", "tail")
PYENV = """#!/usr/bin/env bash
[[ $* == "versions --bare" ]] && printf '%s\\n' 3.10.13 {versions}
"""
# Shows what it was given, and ends the script.
PYTHON = """#!/usr/bin/env bash
echo "PYENV_VERSION=${PYENV_VERSION-}"
[[ -z $ETCD_SERVERS ]] || echo "ETCD_SERVERS=$ETCD_SERVERS"
exit 1
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Make a folder with the script, what it reads, and the commands that it may run."""
    (tmp_path / ".ci").mkdir()
    for name in (".ci/run", ".ci/etcd", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for tool in ("env", *TOOLS):
        path = shutil.which(tool)
        assert path is not None
        (tmp_path / "bin" / tool).symlink_to(path)
    write_command(tmp_path / "bin" / "python3", PYTHON)
    return tmp_path


def write_command(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def run(copy: Path) -> list[str]:
    """Run the script; return the lines that it prints."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYENV_VERSION", "BASH_ENV", "XDG_CACHE_HOME"}
    }
    environment["HOME"] = str(copy)
    environment["PATH"] = str(copy / "bin")
    command = [copy / ".ci" / "run"]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    return ended.stdout.splitlines()


def test_the_newest_patch_version_of_each_python_is_tested(copy: Path) -> None:
    """Versions are compared by number, and pre-releases and environments left out."""
    versions = (
        "3.11.7 3.11.12 3.11.12/envs/x 3.12.1 3.13.0 3.13.0t 3.14.0rc2 3.14.10 3.14.9 311.1.5"
    )
    write_command(copy / "bin" / "pyenv", PYENV.format(versions=versions))
    assert run(copy) == [
        "testing on the newest Pythons of pyenv: 3.11.12, 3.12.1, 3.13.0, 3.14.10",
        "PYENV_VERSION=3.11.12:3.12.1:3.13.0:3.14.10",
    ]


def test_a_python_that_pyenv_does_not_have_is_named(copy: Path) -> None:
    """Another place on PATH may have it; nox says so if not."""
    write_command(copy / "bin" / "pyenv", PYENV.format(versions="3.11.7 3.13.0"))
    assert run(copy) == [
        "pyenv has no Python 3.12",
        "pyenv has no Python 3.14",
        "testing on the newest Pythons of pyenv: 3.11.7, 3.13.0",
        "PYENV_VERSION=3.11.7:3.13.0",
    ]


def test_without_pyenv_the_pythons_on_path_are_tested(copy: Path) -> None:
    """Nothing is chosen for nox."""
    assert run(copy) == [
        "testing on the Pythons on PATH: there is no pyenv",
        "PYENV_VERSION=",
    ]


def test_a_version_of_etcd_that_can_not_be_had_is_said(copy: Path) -> None:
    """There is no apt-get here: nobody overlooks it, and all else is tested."""
    ended = subprocess.run(
        [copy / ".ci" / "etcd"],
        env={"PATH": str(copy / "bin"), "HOME": str(copy)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "\n"
    for version in ("3.4.23", "3.5.30"):
        assert f"NOT TESTED: etcd {version}, whose package can't be had\n" in ended.stderr


def test_the_versions_of_etcd_that_were_unpacked_are_tested(copy: Path) -> None:
    """They are unpacked once, and passed on."""
    servers = [
        copy / ".cache" / "trio-supervisor" / "etcd" / version / "usr" / "bin" / "etcd"
        for version in ("3.4.23", "3.5.30")
    ]
    for server in servers:
        server.parent.mkdir(parents=True)
        write_command(server, "")
    assert run(copy)[-1] == f"ETCD_SERVERS={servers[0]}:{servers[1]}"
