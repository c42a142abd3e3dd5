"""Host specification."""

from __future__ import annotations

from pathlib import Path

from localcloud.hosts.spec import HostSpec


def test_a_spec_survives_json() -> None:
    spec = HostSpec("i-1", "127.77.0.9", 2222, Path("/d"), "ubuntu", ("k",), b"\x00\xff", {"A": "b"}, 1.5)
    assert HostSpec.from_json(spec.to_json()) == spec
