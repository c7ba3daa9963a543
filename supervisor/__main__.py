"""``python -m supervisor run package.module:root`` runs a tree from the command line."""

from __future__ import annotations

from ._process._command_line import main

if __name__ == "__main__":
    main()
