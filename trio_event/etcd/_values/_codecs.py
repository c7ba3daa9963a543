"""How data become bytes, and bytes data."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from types import UnionType
from typing import (
    Any,
    Generic,
    NewType,
    NoReturn,
    Protocol,
    TypeVar,
    Union,
    cast,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs

from ..._arguments import shown
from .._errors import DecodeError

T = TypeVar("T")


class Codec(Protocol[T]):
    """What makes data of what is stored, and back (E6)."""

    def encode(self, value: T, /) -> bytes:
        """Return the bytes to store."""

    def decode(self, data: bytes, /) -> T:
        """Return the data; raise whatever exception if the bytes are none."""


@final
@attrs.frozen
class Bytes:
    """Data that are bytes already."""

    def encode(self, value: bytes, /) -> bytes:
        """Return the bytes as they are."""
        return value

    def decode(self, data: bytes, /) -> bytes:
        """Return the bytes as they are."""
        return data


@final
@attrs.frozen
class Text:
    """Text, stored as UTF-8."""

    def encode(self, value: str, /) -> bytes:
        """Return the UTF-8.

        Raises:
            TypeError: if it is no string.
        """
        given: object = value
        if not isinstance(given, str):
            msg = f"Text() can't store {shown(value)}, which is no str"
            raise TypeError(msg)
        return value.encode()

    def decode(self, data: bytes, /) -> str:
        """Return the text."""
        return data.decode()


@final
@attrs.frozen
class Json(Generic[T]):
    """Data as JSON: builtins, or an object of a dataclass or an attrs class.

    An object is stored with its fields by name. What is stored may have fields that the class does
    not have: they are ignored, so that a newer writer does no harm. The annotations say what the
    fields are: builtins, such classes, lists, tuples, dictionaries, unions.

    Attributes:
        type: What the data have to be.

    Example::

        codec = Json(Config)  # a frozen attrs class, or a frozen dataclass
    """

    type: type[T]

    def __attrs_post_init__(self) -> None:
        """Refuse what is no type, such as an object of the class that was meant."""
        kind: object = self.type
        is_type = isinstance(kind, type | NewType) or get_origin(kind) is not None or kind is Any
        if not is_type and not hasattr(kind, "__value__"):  # of an alias by "type ... ="
            msg = f"Json(): {shown(kind)} is no type: pass the class of the data"
            raise TypeError(msg)

    def encode(self, value: T, /) -> bytes:
        """Return the JSON, without spaces and with sorted keys.

        Raises:
            TypeError: if it is of another class, or can't be stored.
        """
        kind: Any = get_origin(self.type) or self.type
        is_class = isinstance(kind, type) and kind not in {Any, UnionType}
        if is_class and not _is_of(value, kind):
            name = kind.__name__
            msg = f"Json({name}) can't store {shown(value)}, which is no {name}"
            raise TypeError(msg)
        plain = json.dumps(value, default=_as_plain, sort_keys=True, separators=(",", ":"))
        return plain.encode()

    def decode(self, data: bytes, /) -> T:
        """Return the data.

        Raises:
            TypeError: if they are of another type.
            ValueError: if the bytes are no JSON.
        """
        return cast("T", _read(self.type, json.loads(data)))


def _as_plain(value: Any) -> dict[str, object]:  # noqa: ANN401  of whatever class
    """Return the fields of what JSON does not know."""
    if attrs.has(type(value)):
        names = [field.name for field in attrs.fields(type(value)) if field.init]
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
    else:
        msg = f"{value!r} can't be stored as JSON: use a codec of your own"
        raise TypeError(msg)
    return {name: getattr(value, name) for name in names}


def _read(kind: Any, plain: object) -> object:  # noqa: ANN401  a type, or what stands for one
    """Make data of a type from what JSON knows."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin in {Union, UnionType}:
        return _read_one_of(parts, plain)
    if kind is Any or not isinstance(origin, type):
        return plain  # all that JSON knows is allowed
    if attrs.has(origin):
        types = {field.name: field.type for field in attrs.fields(attrs.resolve_types(origin))}
        names = {field.name: field.alias for field in attrs.fields(origin) if field.init}
        return _read_fields(origin, types, names, plain)
    if dataclasses.is_dataclass(origin):
        names = {field.name: field.name for field in dataclasses.fields(origin) if field.init}
        return _read_fields(origin, get_type_hints(origin), names, plain)
    if not _is_of(plain, list if issubclass(origin, tuple) else origin):
        msg = f"{plain!r} is no {origin.__name__}"
        raise TypeError(msg)
    return _read_items(origin, parts, plain)


def _read_items(kind: type, parts: tuple[Any, ...], plain: object) -> object:
    if isinstance(plain, list):
        if not parts or not issubclass(kind, tuple) or parts[-1] is Ellipsis:
            parts = (parts or (Any,))[:1] * len(plain)
        items = [_read(part, item) for part, item in zip(parts, plain, strict=True)]
        return tuple(items) if issubclass(kind, tuple) else items
    if isinstance(plain, dict) and parts:
        return {key: _read(parts[1], item) for key, item in plain.items()}
    return plain


def _read_one_of(kinds: tuple[Any, ...], plain: object) -> object:
    for kind in kinds:
        with suppress(TypeError):
            return _read(kind, plain)
    msg = f"{plain!r} is none of {', '.join(map(str, kinds))}"
    raise TypeError(msg)


def _read_fields(
    kind: type, types: dict[str, Any], names: dict[str, str | None], plain: object
) -> object:
    if not isinstance(plain, dict):
        msg = f"{plain!r} has no fields of {kind.__name__}"
        raise TypeError(msg)
    given = {
        argument: _read(types[name], plain[name])
        for name, argument in names.items()
        if name in plain and argument is not None
    }
    return kind(**given)


def _is_of(plain: object, kind: type) -> bool:
    if kind is float:
        return isinstance(plain, int | float) and not isinstance(plain, bool)
    if kind is int:
        return isinstance(plain, int) and not isinstance(plain, bool)
    return isinstance(plain, kind)


@final
@attrs.frozen(eq=False)
class Undecodable:
    """Stands for data that could not be decoded."""

    key: bytes
    revision: int
    raw: bytes
    cause: Exception

    def raise_error(self) -> NoReturn:
        """Raise what a ``get`` raises that would return it."""
        msg = (
            f"{self.key!r} has data at revision {self.revision} that can't be decoded "
            f"({self.cause!r}): put good data there, or open it with on_decode_error='skip'"
        )
        raise DecodeError(msg, self.key, self.revision, self.raw) from self.cause
