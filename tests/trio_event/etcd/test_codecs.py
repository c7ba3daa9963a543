"""How data become bytes, and bytes data."""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Protocol, TypedDict

import attrs
import pytest

from trio_event.etcd import Bytes, Json, Text


@attrs.frozen
class Port:
    number: int
    _name: str = "none"


@dataclasses.dataclass(frozen=True)
class Host:
    address: str | None
    ports: list[Port] = dataclasses.field(default_factory=list)
    load: float = 0.0
    tags: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    derived: int = dataclasses.field(default=1, init=False)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 2


class Lease(TypedDict):
    address: str
    color: NotRequired[Color]


class Point(NamedTuple):
    x: int
    color: Color = Color.RED


class Shape(enum.Enum):
    SQUARE = (1, 1)


class Closable(Protocol):
    def close(self) -> None: ...


Number = NewType("Number", int)


@pytest.mark.parametrize(
    ("kind", "data", "stored"),
    [
        (Color, Color.RED, b'"red"'),
        (Level, Level.HIGH, b"2"),
        (Color | None, None, b"null"),
        (list[Color | int], [Color.RED, 1], b'["red",1]'),
        (Lease, {"address": "a", "color": Color.RED}, b'{"address":"a","color":"red"}'),
        (Lease, {"address": "a"}, b'{"address":"a"}'),
        (Point, Point(1, Color.RED), b'[1,"red"]'),
        (Number, Number(1), b"1"),
        (Annotated[int, "a number"], 1, b"1"),
        (Literal["a"], "a", b'"a"'),
        (Literal[Color.RED, 1], Color.RED, b'"red"'),
        (dict[str, Port], {"a": Port(1)}, b'{"a":{"_name":"none","number":1}}'),
        (Iterable, [1], b"[1]"),
        (Closable, "a", b'"a"'),
        (int, 1, b"1"),
        (float, 1.5, b"1.5"),
        (str, "\u00e9", b'"\\u00e9"'),
        (dict, {"b": 1, "a": [None]}, b'{"a":[null],"b":1}'),
        (list, [1, "a"], b'[1,"a"]'),
        (tuple[int, ...], (1, 2), b"[1,2]"),
        (tuple, (1, "a"), b'[1,"a"]'),
        (Any, {"a": 1}, b'{"a":1}'),
        (Port, Port(80, "http"), b'{"_name":"http","number":80}'),
        (
            Host,
            Host("a", [Port(1)], 2.5, {"x": ("y", 1)}),
            (
                b'{"address":"a","load":2.5,"ports":[{"_name":"none","number":1}],'
                b'"tags":{"x":["y",1]}}'
            ),
        ),
        (Host, Host(None), b'{"address":null,"load":0.0,"ports":[],"tags":{}}'),
    ],
)
def test_json_returns_what_was_stored(kind: type[object], data: object, stored: bytes) -> None:
    """E6: with keys in order, so that equal data are equal bytes."""
    codec: Json[Any] = Json(kind)
    assert codec.encode(data) == stored
    decoded = codec.decode(stored)
    assert (decoded, type(decoded)) == (data, type(data))


def test_json_ignores_fields_that_it_does_not_know() -> None:
    """E6: a newer writer does no harm."""
    assert Json(Port).decode(b'{"number": 1, "speed": 2}') == Port(1)
    assert Json(Lease).decode(b'{"address": "a", "speed": 2}') == {"address": "a"}
    assert Json(Point).decode(b'[1, "red", 2]') == Point(1)
    assert Json(Point).decode(b"[1]") == Point(1)


@pytest.mark.parametrize(
    ("kind", "stored", "text"),
    [
        (int, b'"a"', "'a' is no int"),
        (int, b"true", "True is no int"),
        (float, b"true", "True is no float"),
        (str, b"null", "None is no str"),
        (list, b"{}", "{} is no list"),
        (Port, b"[]", r"\[\] has no fields of Port"),
        (Port, b"{}", "missing 1 required positional argument"),
        (Port, b'{"number": "1"}', "'1' is no int"),
        (Lease, b"{}", "{} has no 'address', which Lease needs"),
        (Lease, b"[]", r"\[\] has no fields of Lease"),
        (Number, b'"a"', "'a' is no int"),
        (Color | None, b'"blue"', "'blue' is none of"),
        (int | str, b"null", "None is none of <class 'int'>, <class 'str'>"),
    ],
)
def test_json_refuses_what_is_of_another_type(kind: type[object], stored: bytes, text: str) -> None:
    """E6: by the annotations of fields as well."""
    codec: Json[Any] = Json(kind)
    with pytest.raises(TypeError, match=text):
        codec.decode(stored)


def test_json_refuses_what_is_none() -> None:
    """E6: and a tuple of another length."""
    with pytest.raises(ValueError, match="Expecting value"):
        Json(int).decode(b"")
    pair: Json[Any] = Json(tuple[int, int])
    with pytest.raises(ValueError, match="shorter"):
        pair.decode(b"[1]")
    with pytest.raises(ValueError, match="'blue' is not a valid Color"):
        Json(Color).decode(b'"blue"')


def test_json_stores_no_objects_of_other_classes() -> None:
    """E6: the message says what to do."""
    with pytest.raises(TypeError, match=r"\{1\} can't be stored as JSON: use a codec of your own"):
        Json(set).encode({1})


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (list[int], ["a"]),
        (int | None, "a"),
        (Port, Port("80")),  # type: ignore[arg-type]  # the mistake
        (tuple[int, int], (1,)),
        (Lease, {}),
        (dict[int, str], {1: "a"}),
        (Shape, Shape.SQUARE),
        (Literal["a"], "b"),
        (collections.Counter, collections.Counter("a")),
    ],
)
def test_json_stores_nothing_that_can_not_be_read(kind: type[object], data: object) -> None:
    """E6: each reader would find it bad."""
    codec: Json[Any] = Json(kind)
    with pytest.raises(TypeError, match=r"Json\(.*\) can't store .*: no reader could read it \("):
        codec.encode(data)


def test_text_and_bytes_are_stored_as_they_are() -> None:
    """E6: text as UTF-8."""
    assert Text().decode(Text().encode("\u00e9")) == "\u00e9"
    assert Text().encode("\u00e9") == b"\xc3\xa9"
    assert Bytes().decode(Bytes().encode(b"\xff")) == b"\xff"
    with pytest.raises(UnicodeDecodeError):
        Text().decode(b"\xff")
