"""How data become bytes, and bytes data."""

from __future__ import annotations

import dataclasses
import enum
import json
from contextlib import suppress
from functools import partial
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    NoReturn,
    NotRequired,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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

    An object is stored with its fields by name, like a ``TypedDict``. What is stored may have
    fields that the class does not have: they are ignored, so that a newer writer does no harm. A
    named tuple is stored as a list, to which a newer writer may append; a member of an enum as its
    value. The annotations say what the fields are: builtins, such classes, lists, tuples,
    dictionaries, unions.

    Attributes:
        type: What the data have to be.

    Example::

        codec = Json(Config)  # a frozen attrs class, or a frozen dataclass
    """

    type: type[T]

    def __attrs_post_init__(self) -> None:
        """Refuse what is no type, such as an object of the class that was meant."""
        kind: object = self.type
        is_type = isinstance(kind, type | NewType) or get_origin(kind) is not None
        # Typing has more that stands for a type, which has no class of its own.
        if not is_type and type(kind).__module__ not in {"typing", "typing_extensions"}:
            msg = f"Json(): {shown(kind)} is no type: pass the class of the data"
            raise TypeError(msg)

    def encode(self, value: T, /) -> bytes:
        """Return the JSON, without spaces and with sorted keys.

        Raises:
            TypeError: if it is of another class, can't be stored, or could not be read again.
        """
        kind, _ = _class_and_parts(self.type)
        if isinstance(kind, type) and not _is_of(value, kind):
            msg = f"Json({kind.__name__}) can't store {shown(value)}, which is no {kind.__name__}"
            raise TypeError(msg)
        plain = json.dumps(value, default=_as_plain, sort_keys=True, separators=(",", ":"))
        try:
            _read(self.type, json.loads(plain))
        except Exception as error:
            msg = f"{self!r} can't store {shown(value)}: no reader could read it ({error})"
            raise TypeError(msg) from error
        return plain.encode()

    def decode(self, data: bytes, /) -> T:
        """Return the data.

        Raises:
            TypeError: if they are of another type.
            ValueError: if the bytes are no JSON.
        """
        return cast("T", _read(self.type, json.loads(data)))


def _as_plain(value: Any) -> object:  # noqa: ANN401  of whatever class
    """Return what JSON knows in place of what it does not know."""
    if isinstance(value, enum.Enum):
        return value.value
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
    origin, parts = _class_and_parts(kind)
    if origin is Union:
        return _read_one_of([partial(_read, part) for part in parts], parts, plain)
    if origin is Literal:
        return _read_one_of([partial(_read_constant, part) for part in parts], parts, plain)
    if not isinstance(origin, type):
        return plain  # all that JSON knows is allowed
    if attrs.has(origin) or dataclasses.is_dataclass(origin) or _is_typed_dict(origin):
        return _read_object(origin, plain)
    if not _is_of(plain, list if issubclass(origin, tuple) else origin):
        if issubclass(origin, enum.Enum):
            return origin(plain)
        msg = f"{plain!r} is no {origin.__name__}"
        raise TypeError(msg)
    return _read_items(origin, parts, plain)


def _class_and_parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401  as above
    """Return what a type is of, and of what: a class, Union, Literal; None for all there is."""
    while not isinstance(kind, type):
        if kind is None:
            kind = type(None)
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        elif get_origin(kind) is Annotated:
            kind = kind.__origin__
        elif hasattr(kind, "__value__"):  # of an alias by "type ... ="
            value, arguments = kind.__value__, get_args(kind)
            kind = value[arguments] if arguments else value
        else:
            break
    origin = get_origin(kind) or kind
    if origin in {Union, UnionType}:  # since Python 3.14 they are one
        origin = Union
    return (None if origin is Any else origin), get_args(kind)


def _is_typed_dict(kind: type) -> bool:
    """Return whether it is one of typing, or of typing_extensions."""
    return issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def _read_items(kind: Any, parts: tuple[Any, ...], plain: object) -> object:  # noqa: ANN401  a class
    if isinstance(plain, list):
        if hasattr(kind, "_fields"):  # of a named tuple; some may have defaults, or be newer
            hints = get_type_hints(kind)
            fields = zip(kind._fields, plain, strict=False)
            return kind(*(_read(hints.get(name, Any), item) for name, item in fields))
        if not parts or not issubclass(kind, tuple) or parts[-1] is Ellipsis:
            parts = (parts or (Any,))[:1] * len(plain)
        items = [_read(part, item) for part, item in zip(parts, plain, strict=True)]
        return tuple(items) if issubclass(kind, tuple) else items
    if isinstance(plain, dict) and parts:
        return {_read(parts[0], key): _read(parts[1], item) for key, item in plain.items()}
    return plain


def _read_constant(constant: object, plain: object) -> object:
    stored = constant.value if isinstance(constant, enum.Enum) else constant
    if (stored, type(stored)) != (plain, type(plain)):
        msg = f"{plain!r} is not {constant!r}"
        raise TypeError(msg)
    return constant


def _read_one_of(
    readers: Sequence[Callable[[object], object]], kinds: tuple[Any, ...], plain: object
) -> object:
    for reader in readers:
        with suppress(TypeError, ValueError):
            return reader(plain)
    msg = f"{plain!r} is none of {', '.join(map(str, kinds))}"
    raise TypeError(msg)


def _read_object(kind: Any, plain: object) -> object:  # noqa: ANN401  of whatever class
    if attrs.has(kind):
        types = {field.name: field.type for field in attrs.fields(attrs.resolve_types(kind))}
        names = {field.name: field.alias for field in attrs.fields(kind) if field.init}
        return _read_fields(kind, types, names, plain)
    types = get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        names = {field.name: field.name for field in dataclasses.fields(kind) if field.init}
        return _read_fields(kind, types, names, plain)
    read = _read_fields(kind, types, {name: name for name in types}, plain)
    # Where annotations are strings, the class itself does not know what is not required.
    hints = get_type_hints(kind, include_extras=True)
    optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
    missing = sorted(kind.__required_keys__ - optional - read.keys())
    if missing:
        msg = f"{plain!r} has no {missing[0]!r}, which {kind.__name__} needs"
        raise TypeError(msg)
    return read


def _read_fields(
    kind: Any,  # noqa: ANN401  as above
    types: dict[str, Any],
    names: Mapping[str, str | None],
    plain: object,
) -> Any:  # noqa: ANN401  as above
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
    if _is_typed_dict(kind):
        return isinstance(plain, dict)
    try:
        return isinstance(plain, kind)
    except TypeError:  # a protocol that can't be asked
        return True


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
