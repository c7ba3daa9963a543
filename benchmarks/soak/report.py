"""What a soak says of each of its parts, and with which status it ends."""

from __future__ import annotations

from typing import final

import attrs


@final
@attrs.define
class Report:
    """Prints the figures of each part, and counts what is wrong."""

    violations: int = 0

    def add(self, what: str, figures: str, wrong: list[str]) -> None:
        """Print what a part has measured, and each thing that must not be."""
        print(f"{what}: {figures}, {len(wrong)} violations", *wrong, sep="\n  ", flush=True)
        self.violations += len(wrong)

    @property
    def status(self) -> int:
        """The exit status of the process."""
        return 1 if self.violations else 0
