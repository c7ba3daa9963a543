"""The text of a death's traceback, of which the frames are remembered (S14)."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from supervisor._text import _exceptions, _frames
from supervisor._text._exceptions import TEXT_KEPT, TEXTS_KEPT, format_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    _exceptions._texts.clear()
    _frames._known.clear()


def fail(error: Exception) -> None:
    raise error


def caught(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:  # noqa: BLE001  whatever it is
        return error
    raise AssertionError(function)


def text_of(error: Exception) -> str:
    """Format ``error`` as if nothing were remembered, and by memory; both have to agree."""
    texts, frames = _exceptions._texts.copy(), _frames._known.copy()
    forget()
    fresh = format_error(error)
    forget()
    _exceptions._texts.update(texts)
    _frames._known.update(frames)
    assert format_error(error) == fresh
    assert format_error(error) == fresh
    return fresh


def test_the_same_death_has_the_same_text() -> None:
    """S14: it is formatted once, and the objects that die of it need not be the same."""
    first, second = (caught(partial(fail, OSError("no route"))) for _ in range(2))
    assert format_error(first) is format_error(second)
    assert text_of(second).endswith("OSError: no route")


def test_deaths_that_differ_have_texts_that_differ() -> None:
    """S14: by type, by message, by where it was raised, and by who called."""

    def elsewhere(*, early: bool) -> None:
        if early:
            fail(OSError("one"))
        fail(OSError("one"))

    errors = [
        caught(partial(fail, OSError("one"))),
        caught(partial(fail, OSError("two"))),
        caught(partial(fail, ValueError("one"))),
        caught(partial(elsewhere, early=True)),
        caught(partial(elsewhere, early=False)),
        caught(lambda: (None, fail(OSError("one")))),  # type: ignore[func-returns-value]
    ]
    assert len({text_of(error) for error in errors}) == len(errors)


def test_causes_contexts_notes_and_members_are_shown_although_the_rest_is_the_same() -> None:
    """S14: what is linked to an exception is part of its text, whatever was remembered."""
    plain, caused, followed, noted = (OSError("why") for _ in range(4))
    caused.__cause__ = KeyError("cause")
    followed.__context__ = KeyError("context")
    noted.add_note("a note")
    texts = [text_of(caught(partial(fail, error))) for error in (plain, caused, followed, noted)]
    assert [[word in text for word in ("cause'", "context'", "a note")] for text in texts] == [
        [False, False, False],
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]
    for member in ("one", "other"):
        group = ExceptionGroup("same", [OSError(member)])
        assert member in text_of(caught(partial(fail, group)))


def test_the_source_that_a_syntax_error_shows_is_its_own() -> None:
    """S14: texts that depend on more than the message are not remembered."""
    for source in ("x = = 1", "y = = 2"):
        error = SyntaxError("invalid syntax", ("config", 1, 5, source))
        assert source in text_of(caught(partial(fail, error)))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="suggestions are not part of the text")
def test_a_suggestion_is_for_the_name_that_is_there() -> None:
    """S14: nor are those that depend on the objects which the frames have."""

    class Thing:
        def __init__(self, name: str) -> None:
            setattr(self, name, 1)

    for name in ("color", "colours"):
        assert f"'{name}'" in text_of(caught(partial(getattr, Thing(name), "colour")))


def test_few_texts_are_remembered_and_none_that_is_long() -> None:
    """S14: the memory for texts is bounded in number and in size."""
    for number in range(10 * TEXTS_KEPT):
        text_of(caught(partial(fail, OSError(number))))
        assert 1 <= len(_exceptions._texts) <= TEXTS_KEPT
    forget()
    rest = len("OSError: ")
    text_of(OSError("x" * (TEXT_KEPT - rest + 1)))
    assert not _exceptions._texts
    text_of(OSError("x" * (TEXT_KEPT - rest)))
    assert len(_exceptions._texts) == 1


class EmptyError(Exception):
    """An exception that is false, as one that is a container may be."""

    def __len__(self) -> int:
        return 0


def test_a_cause_that_is_false_is_a_cause() -> None:
    """S14: what an error comes from is asked for by identity."""

    def chain(text: str) -> None:
        raise OSError("x") from EmptyError(text)

    assert text_of(caught(partial(chain, "first"))) != text_of(caught(partial(chain, "second")))
