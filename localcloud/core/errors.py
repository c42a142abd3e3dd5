"""The base class of all errors that this package raises on purpose."""

from __future__ import annotations


class LocalCloudError(Exception):
    """The cloud cannot be started, reached or stopped; the message is one line with the reason and a fix."""
