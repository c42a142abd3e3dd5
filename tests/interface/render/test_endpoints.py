"""Endpoints on the screen."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from orchestrator.interface.render.sagemaker.endpoints import endpoint_lines
from orchestrator.services.hosting.endpoints import EndpointStatus

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_each_endpoint_fits_a_narrow_terminal() -> None:
    scaled = EndpointStatus(
        "stratus-cloud-lab-retrieval-k3x",
        "real-time",
        "InService",
        "ml.g5.12xlarge",
        2,
        Decimal("17.724"),
        NOW,
        ends_at=NOW,
        scaling=(1, 4),
    )
    small = EndpointStatus("stratus-cloud-lab-line-abc", "serverless", "Creating", "", 0, None, NOW)

    lines = [str(line) for line in endpoint_lines([scaled, small], NOW)]

    assert all(len(line) <= 80 for line in lines)
    assert [line.split("  ")[1] for line in lines[::2]] == [scaled.name, small.name]
    assert lines[1].startswith("    real-time   scales 1 to 4   since ")
    assert "ends" in lines[1]
