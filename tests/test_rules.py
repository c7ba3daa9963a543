"""Each rule of docs/rules.md has code that keeps it and tests that pin it, and all cite it."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import io
import re
import tokenize
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import attrs
import pytest

import supervisor
import trio_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "rules.md"
# The packages that are tested, which may be installed elsewhere.
PACKAGES = [Path(inspect.getfile(package)).parent for package in (supervisor, trio_event)]

NOT_BUILT = "Not built."
"""The text of a rule begins with this while its number is only reserved."""

# A number, or the first and the last of several, as in "S9 to S14".
_CITATION = re.compile(
    r"\b(?P<letter>[ESV])(?P<first>\d{1,2})\b(?: to (?P=letter)(?P<last>\d{1,2})\b)?"
)
_ITEM = re.compile(r"^- `(.+)`$", re.MULTILINE)


# Reading the page


@attrs.frozen
class Rule:
    """A rule as the page has it."""

    number: str
    title: str
    has_anchor: bool
    text: str
    kept_by: tuple[str, ...]
    pinned_by: tuple[str, ...]

    @property
    def is_built(self) -> bool:
        return not self.text.startswith(NOT_BUILT)


def rules_of(page: str) -> list[Rule]:
    """Read the rules of a page, in its order."""
    pieces = re.split(r'^((?:<a id="\w+"></a>\n)?### [A-Z]\d+ .*)$', page, flags=re.MULTILINE)
    return [_rule(head, body) for head, body in zip(pieces[1::2], pieces[2::2], strict=True)]


def _rule(head: str, body: str) -> Rule:
    anchor, _, heading = head.rpartition("\n")
    number, _, title = heading.removeprefix("### ").partition(" ")
    body = re.split(r"^(?:## |<a )", body, maxsplit=1, flags=re.MULTILINE)[0]
    text, _, lists = body.partition("\nKept by:\n")
    kept_by, _, pinned_by = lists.partition("\nPinned by:\n")
    return Rule(
        number,
        title,
        anchor == f'<a id="{number.lower()}"></a>',
        text.strip(),
        tuple(_ITEM.findall(kept_by)),
        tuple(_ITEM.findall(pinned_by)),
    )


def faults_of_form(page: str) -> Iterator[str]:
    """Say what is wrong with the page itself."""
    rules = rules_of(page)
    numbers = [rule.number for rule in rules]
    if numbers != sorted(set(numbers), key=in_order):
        yield "the rules are not in the order of their numbers, each once"
    contents = re.findall(r"^ *- \[([A-Z]\d+) (.*)\]\(#(\w+)\)$", page, re.MULTILINE)
    for rule in rules:
        number = rule.number
        if not rule.has_anchor:
            yield f'{number} has no anchor: write <a id="{number.lower()}"></a> above its heading'
        if contents.count((number, rule.title, number.lower())) != 1:
            link = f"[{number} {rule.title}](#{number.lower()})"
            yield f"{number} is not in the contents exactly once, as {link}"
        if rule.is_built and not (rule.kept_by and rule.pinned_by):
            yield f"{number} needs the lists 'Kept by:' and 'Pinned by:', one `path` to an item"
        if not rule.is_built and (rule.kept_by or rule.pinned_by):
            yield f"{number} has code or tests: remove {NOT_BUILT!r} and say what holds"
    for number in sorted({number for number, _, _ in contents} - set(numbers), key=in_order):
        yield f"{number} is in the contents, but there is no such rule"


# Reading sources


def in_order(number: str) -> tuple[int, int]:
    return "SVE".index(number[0]), int(number[1:])


def citations(text: str) -> Iterator[str]:
    """Find the rules that a text cites."""
    for match in _CITATION.finditer(text):
        letter, first = match["letter"], int(match["first"])
        last = int(match["last"] or first)
        yield from (f"{letter}{number}" for number in range(first, last + 1))


def docstrings(source: str) -> Iterator[str]:
    """Find the docstrings of a source: of its module, classes, functions and attributes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield text


def comments(source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@functools.cache
def cited_by(path: Path) -> set[str]:
    """Return the rules that a file cites: a page anywhere, a source in docstrings and comments."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        return set(citations(text))
    return {number for part in (*docstrings(text), *comments(text)) for number in citations(part)}


@functools.cache
def cited_in_docstrings(path: Path) -> set[str]:
    return {number for part in docstrings(path.read_text("utf-8")) for number in citations(part)}


# Reading what is installed


def find(path: str) -> list[object]:
    """Return the object with a dotted path, behind the class and the module that it is in.

    Raises:
        LookupError: if it is not there.
    """
    names = path.split(".")
    for count in range(len(names), 0, -1):
        module_name = ".".join(names[:count])
        try:
            found: list[object] = [importlib.import_module(module_name)]
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            continue
        for name in names[count:]:
            if not hasattr(found[-1], name):
                raise LookupError(path)
            found.append(getattr(found[-1], name))
        return found
    raise LookupError(path)


def fault_of_owner(number: str, path: str) -> str | None:
    """Say what is wrong with what is to keep a rule."""
    if path.partition(".")[0] not in {package.name for package in PACKAGES}:
        return f"{number} is kept by {path}, which is in neither of the packages"
    try:
        found = find(path)
    except LookupError:
        elsewhere = ", ".join(sorted(places_of(path.rpartition(".")[2]))) or "nowhere"
        return (
            f"{number} is kept by {path}, which is not there. That name is defined in: {elsewhere}"
        )
    # A constant has no docstring of its own, only that of its type.
    documented = [
        each for each in found if isinstance(each, ModuleType | type | property) or callable(each)
    ]
    if any(number in citations(getattr(each, "__doc__", None) or "") for each in documented):
        return None
    return f"{number} is kept by {path}: cite it in the docstring there, or in that of the module"


def places_of(name: str) -> set[str]:
    """Return the modules of the packages that define a name."""
    places = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    defined = node.name
                case ast.Name(ctx=ast.Store()):
                    defined = node.id
                case _:
                    continue
            if defined == name:
                package = next(package for package in PACKAGES if package in path.parents)
                module = path.relative_to(package.parent).with_suffix("")
                places.add(".".join(module.parts))
    return places


def fault_of_test(number: str, path: str) -> str | None:
    """Say what is wrong with what is to pin a rule."""
    module = ROOT / path
    if module.is_file() and number in cited_in_docstrings(module):
        return None
    what = "cites it in no docstring" if module.is_file() else "is not there"
    others = [other for other in modules_of_tests() if number in cited_in_docstrings(other)]
    instead = ", ".join(str(other.relative_to(ROOT)) for other in others) or "none"
    return f"{number} is pinned by {path}, which {what}. Test modules that cite it: {instead}"


def fault_of_citation(path: str, number: str, rules: list[Rule]) -> str | None:
    """Say what is wrong with a citation."""
    rule = next((rule for rule in rules if rule.number == number), None)
    if rule is None:
        return f"{path} cites {number}, which is not in {PAGE.name}"
    if not rule.is_built:
        return f"{path} cites {number}, which {PAGE.name} only reserves: say there what holds"
    return None


# What there is


def sources() -> list[Path]:
    """Return the sources of the packages that are tested."""
    return [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]


def modules_of_tests() -> list[Path]:
    return sorted((ROOT / "tests").rglob("test_*.py"))


def everything() -> Iterator[tuple[Path, Path]]:
    """Return all that may cite a rule, and below which folder it is."""
    for path in sources():
        yield next(package.parent for package in PACKAGES if package in path.parents), path
    for folder in ("tests", "docs", "examples", "benchmarks"):
        for suffix in ("py", "md"):
            yield from ((ROOT, path) for path in sorted((ROOT / folder).rglob(f"*.{suffix}")))
    yield from ((ROOT, path) for path in sorted(ROOT.glob("*.md")))


RULES = rules_of(PAGE.read_text("utf-8"))
BUILT = [rule for rule in RULES if rule.is_built]

over_built_rules = pytest.mark.parametrize("rule", BUILT, ids=[rule.number for rule in BUILT])


def check(faults: Iterable[str | None]) -> None:
    """Fail with what is wrong, a line each."""
    found = [fault for fault in faults if fault is not None]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


# The page


def test_the_page_is_in_form() -> None:
    """Each rule is there once, in order and in the contents, with its owners and tests."""
    check(faults_of_form(PAGE.read_text("utf-8")))


@over_built_rules
def test_the_owners_of_a_rule_cite_it(rule: Rule) -> None:
    """What keeps a rule can be imported, and its docstring cites the number."""
    check(fault_of_owner(rule.number, path) for path in rule.kept_by)


@over_built_rules
def test_the_tests_of_a_rule_cite_it(rule: Rule) -> None:
    """What pins a rule is a test module, in which a docstring cites the number."""
    check(fault_of_test(rule.number, path) for path in rule.pinned_by)


def test_what_is_cited_is_a_rule() -> None:
    """No docstring, comment or page cites a number that the page does not have."""
    check(
        fault_of_citation(str(path.relative_to(base)), number, RULES)
        for base, path in everything()
        for number in sorted(cited_by(path), key=in_order)
        if path != PAGE
    )


# The checks themselves

SAMPLE = """
- Theme
  - [S7 It holds](#s7)
  - [S8 Later](#s8)

<a id="s7"></a>
### S7 It holds

First `path` in the text.

- `not.an.owner`

Kept by:
- `package._module.function`
- `package._other.Class.method`

Pinned by:
- `tests/test_one.py`

<a id="s8"></a>
### S8 Later

Not built. Its number is reserved.

## Next part
"""


def test_a_page_is_read_rule_by_rule() -> None:
    """Only the items of the two lists are owners and tests."""
    seven, eight = rules_of(SAMPLE)
    assert (seven.number, seven.title, seven.is_built) == ("S7", "It holds", True)
    assert seven.kept_by == ("package._module.function", "package._other.Class.method")
    assert seven.pinned_by == ("tests/test_one.py",)
    assert (eight.number, eight.title, eight.is_built) == ("S8", "Later", False)
    assert eight.text == "Not built. Its number is reserved."
    assert (eight.kept_by, eight.pinned_by) == ((), ())
    assert list(faults_of_form(SAMPLE)) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ('<a id="s7"></a>\n', "", "S7 has no anchor"),
        ('<a id="s7"></a>', '<a id="s9"></a>', "S7 has no anchor"),
        ("[S7 It holds]", "[S7 It held]", "S7 is not in the contents"),
        ("[S8 Later](#s8)", "[S9 Never](#s9)", "S9 is in the contents, but"),
        ("### S8 Later", "### S6 Later", "the rules are not in the order"),
        ("### S8 Later", "### S7 It holds", "the rules are not in the order"),
        ("Kept by:", "It is kept by", "S7 needs the lists"),
        ("- `tests/test_one.py`\n", "", "S7 needs the lists"),
        ("First", "Not built. First", "S7 has code or tests"),
    ],
)
def test_a_page_that_is_not_in_form_is_noticed(before: str, after: str, fault: str) -> None:
    """Each fault is told with the number of the rule."""
    with pytest.raises(pytest.fail.Exception, match=re.escape(fault)):
        check(faults_of_form(SAMPLE.replace(before, after)))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("S7: a fact", ["S7"]),
        ("(S9, V10)", ["S9", "V10"]),
        ("V2 to V4", ["V2", "V3", "V4"]),
        ("S9 to V11", ["S9", "V11"]),
        ("E6 to E8", ["E6", "E7", "E8"]),
        ("noqa: S101, CVS7, S7x, s7", []),
    ],
)
def test_a_citation_is_a_letter_and_a_number(text: str, numbers: list[str]) -> None:
    """Ranges count in full, and the codes of linters do not count."""
    assert list(citations(text)) == numbers


def test_a_source_cites_in_docstrings_and_comments(tmp_path: Path) -> None:
    """Other strings and names are no citations."""
    path = tmp_path / "sample.py"
    path.write_text(
        '"""S1"""\nS2 = "S3"  # S4\n"""S5"""\n\n\nclass A:\n    """S6"""\n\n'
        '    def b(self):\n        """S7"""\n        return "S8"\n'
    )
    assert cited_by(path) == {"S1", "S4", "S5", "S6", "S7"}
    assert cited_in_docstrings(path) == {"S1", "S5", "S6", "S7"}
    page = tmp_path / "page.md"
    page.write_text("By S9.")
    assert cited_by(page) == {"S9"}


def test_an_owner_is_found_by_its_path() -> None:
    """The module, the class and the method are found, and what is missing is told."""
    assert find("supervisor.Supervisor.stop") == [
        supervisor,
        supervisor.Supervisor,
        supervisor.Supervisor.stop,
    ]
    for path in ("supervisor.Supervisor.never", "supervisor._never", "never"):
        with pytest.raises(LookupError):
            find(path)


def test_a_wrong_owner_is_told() -> None:
    """The message says where the name is defined, or that it is there and cites nothing."""
    fault = fault_of_owner("S0", "supervisor._never.InMemoryMetrics")
    assert fault is not None
    assert re.search(r"which is not there\. That name is defined in: supervisor\.\S+$", fault)
    fault = fault_of_owner("S0", "supervisor._never.never")
    assert fault is not None
    assert fault.endswith("That name is defined in: nowhere")
    fault = fault_of_owner("S0", "supervisor.InMemoryMetrics")
    assert fault is not None
    assert fault.endswith("cite it in the docstring there, or in that of the module")
    assert "neither of the packages" in (fault_of_owner("S0", "trio.Nursery") or "")


def test_a_wrong_test_is_told() -> None:
    """The message says which test modules cite the rule."""
    assert "which is not there. Test mod" in (fault_of_test("S1", "tests/test_never.py") or "")
    fault = fault_of_test("S0", "tests/test_rules.py")
    assert fault is not None
    assert fault.endswith("cites it in no docstring. Test modules that cite it: none")


def test_a_wrong_citation_is_told() -> None:
    """A number has to be on the page, and to be more than reserved."""
    rules = rules_of(SAMPLE)
    assert fault_of_citation("a.py", "S7", rules) is None
    assert "S6, which is not in rules.md" in (fault_of_citation("a.py", "S6", rules) or "")
    assert "S8, which rules.md only reserves" in (fault_of_citation("a.py", "S8", rules) or "")
