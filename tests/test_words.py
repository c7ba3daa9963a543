"""The words that docs/glossary.md says are not used do not occur, neither in texts nor in names."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import supervisor
import trio_event

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
# The packages that are tested, which may be installed elsewhere.
PACKAGES = [Path(inspect.getfile(package)).parent for package in (supervisor, trio_event)]
FOLDERS = ["tests", "docs", "examples", "benchmarks", "newsfragments"]

_ROW = re.compile(r"^\| (?!not used \|)(?!---)(.+) \| (.+) \|$", re.MULTILINE)


def unused_words(page: str) -> dict[str, str]:
    """Read the words that are not used, with what is written instead."""
    _, found, rest = page.partition("\n## Words that are not used\n")
    assert found
    return {word: instead for words, instead in _ROW.findall(rest) for word in words.split(", ")}


def pattern_of(words: list[str]) -> re.Pattern[str]:
    """Make a pattern that finds the words, also in names, at the ends of lines and in comments."""
    either = "|".join(word.replace(" ", r"[\s#_]+") for word in words)
    return re.compile(rf"(?<![a-z])(?:{either})(?![a-z])", re.IGNORECASE)


def faults_in(name: str, text: str, words: dict[str, str]) -> Iterator[str]:
    """Say which words occur in the name of a file and in its text."""
    pattern = pattern_of(list(words))
    for match in pattern.finditer(name):
        word = as_listed(match)
        yield f"{name}: the name has {word!r}; instead: {words[word]}"
    for match in pattern.finditer(text):
        word = as_listed(match)
        line = text.count("\n", 0, match.start()) + 1
        yield f"{name}:{line}: {word!r} is not used; instead: {words[word]}"


def as_listed(match: re.Match[str]) -> str:
    return re.sub(r"[\s#_]+", " ", match[0]).lower()


def texts() -> Iterator[tuple[str, str]]:
    """Return the name and the text of each source and page but the glossary."""
    places = [(package.parent, package.rglob("*.py")) for package in PACKAGES]
    for suffix in ("py", "md"):
        places.append((ROOT, ROOT.glob(f"*.{suffix}")))
        places += [(ROOT, (ROOT / folder).rglob(f"*.{suffix}")) for folder in FOLDERS]
    for base, paths in places:
        for path in sorted(paths):
            if path != GLOSSARY:
                yield path.relative_to(base).as_posix(), path.read_text("utf-8")


def test_words_that_are_not_used_do_not_occur() -> None:
    """Each place is told, with what to write there."""
    words = unused_words(GLOSSARY.read_text("utf-8"))
    faults = [fault for name, text in texts() for fault in faults_in(name, text, words)]
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)


def test_the_words_are_read_from_the_glossary() -> None:
    """A row has one word or several, and what is written instead."""
    page = (
        "| a | b |\n\n## Words that are not used\n\n"
        "| not used | instead |\n|---|---|\n| foo, foo bar | `x`, or y |\n"
    )
    assert unused_words(page) == {"foo": "`x`, or y", "foo bar": "`x`, or y"}
    assert unused_words(GLOSSARY.read_text("utf-8"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a foo", ["foo"]),
        ("a Foo.", ["foo"]),
        ("self._foo = FOO_1", ["foo", "foo"]),
        ("the sit\n    # amet", ["sit amet"]),
        ("test_sit_amet", ["sit amet"]),
        ("foot, afoo, sit; amet", []),
    ],
)
def test_a_word_is_found_wherever_it_stands(text: str, found: list[str]) -> None:
    """Names and broken lines hide none; a part of another word is none."""
    words = {"foo": "x", "sit amet": "y"}
    assert [as_listed(match) for match in pattern_of(list(words)).finditer(text)] == found


def test_a_word_is_told_with_its_line() -> None:
    """The message says where it is, and what to write instead."""
    assert list(faults_in("tests/foo.py", "a\nfoo\n", {"foo": "x"})) == [
        "tests/foo.py: the name has 'foo'; instead: x",
        "tests/foo.py:2: 'foo' is not used; instead: x",
    ]
