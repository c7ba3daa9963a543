"""Functions to derive values with, and predicates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def same(value: T) -> T:
    return value


def anything(_: object) -> bool:
    return True


def unlike(_: object) -> object:
    """Make a key that is equal to no other."""
    return object()


def first(parts: tuple[T, ...]) -> T:
    return parts[0]


def named(parts: Any) -> Any:  # noqa: ANN401  the names are known here
    return parts.a


def is_even(number: int) -> bool:
    return number % 2 == 0


def is_big(number: int | None) -> bool:
    """Accept some numbers, and not None."""
    return number is not None and number > 10


def refuse(number: int | None) -> bool:
    """Fail on everything."""
    msg = f"I don't like {number}"
    raise ValueError(msg)


def refuse_two(number: int) -> int:
    """Return the number; fail on 2."""
    if number == 2:
        msg = "I don't like 2"
        raise ValueError(msg)
    return number


def is_not_two(number: int) -> bool:
    """Accept every number; fail on 2."""
    refuse_two(number)
    return True


def noting(asked: list[T], predicate: Callable[[T], bool]) -> Callable[[T], bool]:
    """Make a predicate that records what it is asked about."""

    def ask(value: T) -> bool:
        asked.append(value)
        return predicate(value)

    return ask
