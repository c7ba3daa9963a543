"""What to say when the ``supervisor`` that is found is not ours."""

from __future__ import annotations

import importlib.util


def explain_clash() -> ImportError:
    """Say which ``supervisor`` is in the way, and what to type."""
    spec = importlib.util.find_spec("supervisor")
    if spec is None:
        where = "there is no package `supervisor`"
    else:
        place = spec.origin or ", ".join(spec.submodule_search_locations or ())
        where = f"the package `supervisor` at {place} is not ours"
        if importlib.util.find_spec("supervisor.supervisord") is not None:
            where += " but supervisord's, which has the same name"
    return ImportError(
        "trio_event needs the package `supervisor` of the distribution trio-supervisor, "
        f"and {where}. "
        "Type `python -m pip install --force-reinstall --no-deps trio-supervisor`; "
        "supervisord keeps working, best in an environment of its own.",
        name="supervisor",
    )
