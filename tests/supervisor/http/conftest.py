"""These tests make sockets, so the paths of their folders are short."""

from ..helpers.folders import tmp_path

__all__ = ["tmp_path"]
