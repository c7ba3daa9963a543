"""The socket of an inspector is its user's alone, and takes no other thing's place."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from supervisor._instances import default_name, folders, instances
from supervisor.inspector._unix import listening, peer_uid


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which sockets are, which is yet to be made."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "supervisor"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_folder_and_the_socket_are_the_users_alone(home: Path) -> None:
    """S37: the folder is made; the socket is removed at the end."""
    with listening(None, "netd") as (listener, path):
        assert path == home / "netd.sock"
        assert mode(home) == 0o700
        assert mode(path) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            with listener.accept()[0] as served:
                assert peer_uid(served) == os.getuid()
    assert list(home.iterdir()) == []


def test_a_second_instance_of_a_name_has_its_number(home: Path) -> None:
    """S37: both are found."""
    with listening(None, "netd") as (_, first), listening(None, "netd") as (_, second):
        assert second == home / f"netd-{os.getpid()}.sock"
        assert instances([home]) == {"netd": first, second.stem: second}


def test_a_folder_of_the_service_manager_comes_first(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S37: then that of the session, then one in the system's temporary folder."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/run:{tmp_path}/other")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert folders() == [tmp_path / "run", home, tmp_path / "tmp" / f"supervisor-{os.getuid()}"]
    monkeypatch.setenv("RUNTIME_DIRECTORY", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    assert folders() == [tmp_path / "tmp" / f"supervisor-{os.getuid()}"]


def test_a_folder_to_which_others_may_write_is_refused(home: Path) -> None:
    """S37: they could put a socket of their own there."""
    home.mkdir()
    home.chmod(0o770)
    with pytest.raises(PermissionError, match="to which others may write"), listening(None, "x"):
        pass


def test_a_folder_that_is_a_link_is_refused(home: Path, tmp_path: Path) -> None:
    """S37: it is looked at without following it."""
    (tmp_path / "other").mkdir(mode=0o700)
    home.symlink_to(tmp_path / "other")
    with pytest.raises(PermissionError, match="no folder of this user's"), listening(None, "x"):
        pass


def test_a_folder_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S37: whatever its mode."""
    home.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(PermissionError, match="no folder of this user's"), listening(None, "x"):
        pass


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    """S37: nobody listens on it."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with listening(path, "x"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_on_which_somebody_listens_is_left(tmp_path: Path) -> None:
    """S37: also if its queue is full."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        other.listen(0)
        client.connect(str(path))
        with pytest.raises(FileExistsError, match="a process listens at"), listening(path, "x"):
            pass
    assert path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left(tmp_path: Path, kind: str) -> None:
    """S37: the error names it."""
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "none")
    with pytest.raises(FileExistsError, match="is no socket"), listening(path, "x"):
        pass
    assert path.lstat()


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """S37: the error has its length in bytes."""
    path = tmp_path / ("é" * 60)
    length = len(os.fsencode(path))
    message = f"has {length} bytes, and may have 107"
    with pytest.raises(ValueError, match=message), listening(path, "x"):
        pass


def test_the_longest_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S37: 107 bytes."""
    monkeypatch.chdir(tmp_path)
    with listening(Path("x" * 107), "x") as (_, path):
        assert path.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """S37: a folder that the user has chosen is not made."""
    path = tmp_path / "none" / "s"
    with pytest.raises(FileNotFoundError, match=str(path)) as caught, listening(path, "x"):
        pass
    assert caught.value.errno == errno.ENOENT


def test_a_socket_that_another_one_has_replaced_is_not_removed(tmp_path: Path) -> None:
    """S37: it is another instance's."""
    path = tmp_path / "s"
    with listening(path, "x"):
        path.unlink()
        path.write_text("another")
    assert path.read_text() == "another"


def test_where_the_system_does_not_tell_the_peer_it_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S37: the modes of folder and socket have to do."""
    monkeypatch.delattr(socket, "SO_PEERCRED")
    with socket.socket(socket.AF_UNIX) as client:
        assert peer_uid(client) is None


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/usr/bin/netd", "netd"),
        ("/srv/netd.py", "netd"),
        ("/srv/pack/__main__.py", "pack"),
        ("/srv/.a b", "a_b"),
        ("-c", "c"),
        ("", "python"),
    ],
)
def test_an_instance_is_called_like_its_program(
    monkeypatch: pytest.MonkeyPatch, program: str, name: str
) -> None:
    """S37: a package by its own name; what can't be in a name is replaced."""
    monkeypatch.setattr("sys.argv", [program])
    assert default_name() == name
