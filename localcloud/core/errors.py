"""The one error that this package raises on purpose."""

from __future__ import annotations


class LocalCloudError(Exception):
    """The cloud cannot be started, reached or stopped; the text says why, in one line, and what to do."""
