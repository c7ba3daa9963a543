"""How the project is checked: ``nox --list`` shows the sessions, ``nox`` runs the usual ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")
PACKAGES = ("supervisor", "trio_event")

IN_CI = bool(os.environ.get("CI"))


def is_installed(version: str) -> bool:
    """Return whether this Python runs: pyenv may have a shim for one that it does not offer."""
    python = shutil.which(f"python{version}")
    if python is None:
        return False
    command = [python, "-c", ""]
    ended = subprocess.run(command, check=False, capture_output=True)  # noqa: S603  it is on PATH
    return not ended.returncode


SUPPORTED = nox.project.python_versions(PYPROJECT)
LOWEST = SUPPORTED[0]
# Not every machine has it yet. In CI, where a missing Python is an error, it is tested where it is.
OPTIONAL = "3.14"
REQUIRED = [version for version in SUPPORTED if version != OPTIONAL]
CHOSEN = SUPPORTED if not IN_CI or is_installed(OPTIONAL) else REQUIRED
# The Python that runs nox is the one that every machine has. It may be newer than all of these.
PRESENT = f"{sys.version_info.major}.{sys.version_info.minor}"
TESTED = CHOSEN if PRESENT in CHOSEN else [*CHOSEN, PRESENT]

# What takes long for what it finds on a second Python runs on one: real servers and processes on
# the first, and what does something ten thousand times on the last, where no coverage slows it.
FOUND = [version for version in TESTED if is_installed(version)] or [PRESENT]
SELECTED_ON = {"processes": FOUND[0], "scale": FOUND[-1]}

# Async functions of these folders are awaited by the packages alone, and need be no checkpoints.
MACHINERY = {"_calling", "_core", "_observing", "_process", "_tasks", "_watching", "_wire"}

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "typing", "tests"]
# Not uv, even where there is one: pip is what the user has, and has configured.
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
# On a user's machine the interpreters that are there have to do.
nox.options.error_on_missing_interpreters = IN_CI


def install_group(session: nox.Session, group: str, *more: str) -> None:
    """Install a dependency group; pip itself has had ``--group`` only since 25.1."""
    session.install(*nox.project.dependency_groups(PYPROJECT, group), *more)


def install_wheel(session: nox.Session, group: str, *more: str) -> Path:
    """Install the wheel that the session ``build`` has made, beside a dependency group."""
    (wheel,) = Path("dist").glob("*.whl")
    install_group(session, group, f"{wheel}[examples]", *more)
    # An environment that is used again has this version already, made of other sources.
    session.install("--force-reinstall", "--no-deps", str(wheel))
    return wheel.resolve()


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling, layers, metadata and news fragments."""
    install_group(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    sources = [path for package in PACKAGES for path in sorted(Path(package).rglob("*.py"))]
    session.run("flake8-async", "--enable=ASYNC102,ASYNC120", *map(str, sources))
    facing_users = [path for path in sources if path.parent.name not in MACHINERY]
    session.run("flake8-async", "--enable=ASYNC910,ASYNC911", *map(str, facing_users))
    session.run("codespell")
    session.run("lint-imports", "--no-logo")
    session.run("validate-pyproject", "pyproject.toml")
    session.run("towncrier", "build", "--draft", "--version", "unreleased", silent=True)


@nox.session(requires=["build"])
def typing(session: nox.Session) -> None:
    """Check types: of all code with mypy, of what users see with basedpyright as well."""
    install_wheel(session, "typing")
    session.run("mypy")
    for package in PACKAGES:
        session.run("basedpyright", "--ignoreexternal", "--verifytypes", package)
    # It would prefer the folder .venv, if there is one, to the environment that it runs in.
    session.run("basedpyright", "--pythonpath", str(Path(session.bin, "python")))


@nox.session(python=TESTED, requires=["build"])
def tests(session: nox.Session) -> None:
    """Test the wheel, on the lowest Python with coverage; arguments go to pytest.

    The marks ``processes`` and ``scale`` say what runs on one Python only.
    """
    wheel = install_wheel(session, "tests")
    if session.posargs:
        session.run("pytest", *session.posargs, env=testing(wheel))
        return
    left_out = [mark for mark, python in SELECTED_ON.items() if session.python != python]
    selection = ["-m", " and ".join(f"not {mark}" for mark in left_out)] if left_out else []
    if session.python != LOWEST:
        # One Python is enough for what versions of servers do differently.
        env = testing(wheel) | {"ETCD_SERVERS": ""}
        run_to_the_end(session, "pytest", *selection, env=env)
        return
    env = testing(wheel) | {"COVERAGE_FILE": str(Path(session.cache_dir, "coverage"))}
    session.run("coverage", "erase", env=env)
    run_to_the_end(session, "coverage", "run", "-m", "pytest", *selection, env=env)
    session.run("coverage", "combine", "--quiet", env=env)
    session.run("coverage", "report", env=env)


def run_to_the_end(session: nox.Session, *command: str, env: dict[str, str]) -> None:
    """Run all tests. A test that ends the process with status 0 fails them, too."""
    report = Path(session.create_tmp(), "tests.xml")  # pytest writes it when it has run all
    report.unlink(missing_ok=True)
    session.run(*command, f"--junit-xml={report}", env=env)
    if not report.exists():
        session.error("the process of the tests has ended before all of them had run")


@nox.session(python=LOWEST, requires=["build"])
def minimum(session: nox.Session) -> None:
    """Test the wheel with the oldest dependencies that it admits."""
    floors = (name.replace(">=", "==") for name in PYPROJECT["project"]["dependencies"])
    wheel = install_wheel(session, "tests", *floors)
    session.run("pytest", *session.posargs, env=testing(wheel))


def testing(wheel: Path) -> dict[str, str]:
    """Return the environment in which the tests find the wheel, and not the checkout."""
    return {"PYTHONSAFEPATH": "1", "TESTED_WHEEL": str(wheel)}


@nox.session
def build(session: nox.Session) -> None:
    """Build the source distribution, and from that the wheel, in ``dist/``."""
    session.install("build")
    for old in Path("dist").glob("trio_supervisor-*"):
        old.unlink()
    session.run("pyproject-build", "--outdir", "dist", silent=True)


@nox.session(requires=["build"])
def release(session: nox.Session) -> None:
    """Check what ``build`` has made, as the package index and its users will see it."""
    install_group(session, "release")
    session.run("twine", "check", "--strict", *map(str, Path("dist").iterdir()))
    (wheel,) = Path("dist").glob("*.whl")
    session.run("check-wheel-contents", "--toplevel", ",".join(PACKAGES), str(wheel))


@nox.session(requires=["build"])
def bench(session: nox.Session) -> None:
    """Measure; ``--quick`` takes two minutes, ``--against PATH_OR_REV`` compares two builds."""
    install_wheel(session, "bench")
    if any(argument.startswith("--against") for argument in session.posargs):
        session.run("python", "-m", "benchmarks", *session.posargs)
        return
    peer = Path(session.cache_dir, "bench-triotp")
    python = str(peer / "bin" / "python")
    if not peer.exists():
        session.run("python", "-m", "venv", str(peer))
    group = nox.project.dependency_groups(PYPROJECT, "bench-triotp")
    session.run(python, "-m", "pip", "install", "--quiet", *group, external=True)
    session.run("python", "-m", "benchmarks", "--triotp", python, *session.posargs)


@nox.session(name="bench-etcd", requires=["build"])
def bench_etcd(session: nox.Session) -> None:
    """Measure the client of etcd, beside others and with a real server; ``--quick`` as above."""
    install_wheel(session, "bench-etcd")
    session.run("python", "-m", "benchmarks", "--etcd", *session.posargs)


@nox.session(requires=["build"])
def soak(session: nox.Session) -> None:
    """Run trees in which all goes wrong that can, and check what is guaranteed."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak", *session.posargs)


@nox.session(requires=["build"])
def faults(session: nox.Session) -> None:
    """Disturb small trees, clients of etcd and processes at each point of their lives."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.faults", *session.posargs)


@nox.session(requires=["build"])
def servers(session: nox.Session) -> None:
    """Have thousands of clients, good and bad, use the servers of the adapters."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.servers", *session.posargs)


@nox.session(requires=["build"])
def commands(session: nox.Session) -> None:
    """Start, stop and kill programs in numbers, and look at what is left of them."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.commands", *session.posargs)


@nox.session(requires=["build"])
def elections(session: nox.Session) -> None:
    """Have five processes elect a leader in etcd, while all goes wrong that can."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.elections", *session.posargs)


@nox.session(requires=["build"])
def etcd(session: nox.Session) -> None:
    """Follow values of etcd while members and the network fail, on each version that is there."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.etcd", *session.posargs)


@nox.session(requires=["build"])
def viewers(session: nox.Session) -> None:
    """Have viewers, good and bad, look at a tree of thousands of nodes."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.viewers", *session.posargs)


@nox.session(requires=["build"])
def browser(session: nox.Session) -> None:
    """Measure how soon the inspector's page shows a crash in a Chromium that is installed."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.browser", *session.posargs)


@nox.session(requires=["build"])
def followers(session: nox.Session) -> None:
    """Have followers of a log come and go while threads write as fast as they can."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.followers", *session.posargs)


@nox.session(requires=["build"])
def scrapes(session: nox.Session) -> None:
    """Measure how long a scrape of a large tree delays its loop."""
    install_wheel(session, "tests")
    session.run("python", "-m", "benchmarks.soak.scrapes", *session.posargs)
