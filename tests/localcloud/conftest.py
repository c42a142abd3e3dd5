"""Fixtures of all tests of the embedded cloud."""

from __future__ import annotations

from tests.support.embedded_instances import ec2, key, launch, play, ubuntu
from tests.support.in_memory_cloud import open_cloud

__all__ = ["ec2", "key", "launch", "open_cloud", "play", "ubuntu"]
