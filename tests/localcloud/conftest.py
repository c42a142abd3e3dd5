"""Fixtures of all tests of the embedded cloud."""

from __future__ import annotations

from tests.support.localcloud.in_memory import open_cloud
from tests.support.localcloud.instances import ec2, key, launch, play, ubuntu

__all__ = ["ec2", "key", "launch", "open_cloud", "play", "ubuntu"]
