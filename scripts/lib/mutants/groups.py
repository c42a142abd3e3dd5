"""Groups of modules in which a fault costs money or data, and the tests that hold them."""

from __future__ import annotations

GROUPS = {
    "money": (
        "orchestrator/core/cost.py",
        "orchestrator/aws/pricing/price_list.py",
        "orchestrator/aws/pricing/price_table.py",
        "orchestrator/aws/launch/time_limits.py",
        "orchestrator/aws/launch/plan.py",
        "orchestrator/aws/ec2/past_use.py",
        "orchestrator/cluster/meter.py",
        "orchestrator/cluster/lifetime.py",
        "orchestrator/cluster/replacement.py",
    ),
    "unpacking": (
        "orchestrator/jobs/record.py",
        "orchestrator/jobs/results.py",
        "orchestrator/jobs/host_output.py",
        "orchestrator/ssh/tar_stream.py",
    ),
    "ending": (
        "orchestrator/cluster/terminate.py",
        "orchestrator/cluster/teardown.py",
        "orchestrator/cluster/recovery.py",
        "orchestrator/cluster/elsewhere.py",
        "orchestrator/aws/ec2/state_changes.py",
    ),
    "ownership": (
        "orchestrator/aws/ec2/instance_tags.py",
        "orchestrator/aws/identity.py",
    ),
}

TEST_FOLDERS = (
    "tests/cluster",
    "tests/aws",
    "tests/core",
    "tests/jobs",
    "tests/ssh",
    "tests/hosts",
    "tests/services",
    "tests/chaos",
    "tests/fuzz",
)
