"""The page for a browser: three files, which ask nothing of another host (S39)."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Final

from supervisor._http._messages import Response

FILES: Final = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""What is at which path. None of it is secret: the token is in the address that the user has."""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS: Final = (
    ("content-security-policy", _POLICY),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
)


@functools.cache
def read_file(path: str) -> Response:
    """Return the file that is at a path."""
    name, content_type = FILES[path]
    content = files(__package__).joinpath("page", name).read_bytes()
    return Response(200, content, content_type=content_type, headers=_HEADERS)
