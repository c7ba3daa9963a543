"""Values that an inspector shows beside the tree.

``supervisor`` knows nothing of ``trio_event``. What has these few methods can be shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Protocol

import attrs

from supervisor._core._arguments import name_of, shown
from supervisor._text._exceptions import one_line
from supervisor._text._printable import cut, single_line

REPR_LENGTH: Final = 200
"""At most so many characters of a value are shown."""


class Inspectable(Protocol):
    """What can be shown: the values of ``trio_event`` can.

    If it has a method ``statistics`` as well, whose result is made by attrs, its figures are shown.
    """

    @property
    def version(self) -> int:
        """How often it was set."""

    def peek(self) -> object:
        """Return what it holds, without waiting, or raise if it holds nothing yet."""


def check_values(values: object) -> dict[str, Inspectable]:
    """Return the values by name.

    Raises:
        TypeError: if it is no mapping of names to objects that can be shown.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        msg = f"values={shown(values)} is no mapping of names to values, such as {{'lease': lease}}"
        raise TypeError(msg)
    for name, value in values.items():
        if name_of(name) is None:
            msg = (
                f"values= has the name {shown(name)}: use 1 to 64 of the characters a-z, 0-9 and _"
            )
            raise TypeError(msg)
        # Asked of its class: a property may raise, or cost much.
        if not (hasattr(type(value), "version") and callable(getattr(value, "peek", None))):
            msg = f"values= has {shown(value)}, which has no version and no method peek()"
            raise TypeError(msg)
    return dict(values)


def describe_value(name: str, value: Inspectable) -> dict[str, object]:
    """Say what a value holds; what it raises is named instead."""
    found: dict[str, object] = {"name": name, "version": None, "repr": None, "error": None}
    found["statistics"] = None
    try:
        found["version"] = int(value.version)
        held = value.peek()
    except Exception as error:  # noqa: BLE001  it is shown
        found["error"] = single_line(cut(one_line(error), REPR_LENGTH))
        return found
    try:
        found["repr"] = single_line(cut(repr(held), REPR_LENGTH))
    except Exception as error:  # noqa: BLE001  it is shown
        found["error"] = f"its repr() raised {single_line(cut(one_line(error), REPR_LENGTH))}"
    statistics = getattr(value, "statistics", None)
    if callable(statistics):
        try:
            figures = statistics()
            if attrs.has(type(figures)):
                found["statistics"] = {
                    key: each
                    for key, each in attrs.asdict(figures, recurse=False).items()
                    if isinstance(each, (int, str))
                    or (isinstance(each, float) and math.isfinite(each))
                }
        except Exception as error:  # noqa: BLE001  it is shown
            found["error"] = f"its statistics() raised {single_line(one_line(error))[:REPR_LENGTH]}"
    return found
