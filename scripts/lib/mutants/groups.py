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
        "orchestrator/ssh/receive.py",
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

TESTS = {
    "orchestrator/core/cost.py": ("tests/core/test_cost.py",),
    "orchestrator/aws/pricing/price_list.py": ("tests/aws/pricing/test_price_list.py",),
    "orchestrator/aws/pricing/price_table.py": ("tests/aws/pricing/test_price_table.py",),
    "orchestrator/aws/launch/time_limits.py": ("tests/aws/launch/test_time_limits.py", "tests/aws/launch/test_plan.py"),
    "orchestrator/aws/launch/plan.py": ("tests/aws/launch/test_plan.py", "tests/aws/launch/test_planner.py"),
    "orchestrator/aws/ec2/past_use.py": ("tests/aws/ec2/test_past_use.py", "tests/cluster/test_meter.py"),
    "orchestrator/cluster/meter.py": ("tests/cluster/test_meter.py",),
    "orchestrator/cluster/lifetime.py": (
        "tests/cluster/test_lifetime.py",
        "tests/cluster/test_lifetime_after_start.py",
    ),
    "orchestrator/cluster/replacement.py": ("tests/cluster/test_replacement.py",),
    "orchestrator/jobs/record.py": ("tests/jobs/test_record.py", "tests/jobs/test_unknown_runs.py"),
    "orchestrator/jobs/results.py": ("tests/jobs/test_results.py",),
    "orchestrator/jobs/host_output.py": ("tests/jobs/test_host_output.py",),
    "orchestrator/ssh/receive.py": (
        "tests/ssh/test_receive.py",
        "tests/ssh/test_tar_stream.py",
        "tests/ssh/test_hostile_archives.py",
    ),
    "orchestrator/ssh/tar_stream.py": (
        "tests/ssh/test_receive.py",
        "tests/ssh/test_tar_stream.py",
        "tests/ssh/test_hostile_archives.py",
        "tests/ssh/test_unpack.py",
    ),
    "orchestrator/cluster/terminate.py": (
        "tests/cluster/test_terminate.py",
        "tests/cluster/test_elsewhere.py",
        "tests/cluster/ownership/test_owners.py",
    ),
    "orchestrator/cluster/teardown.py": (
        "tests/cluster/test_teardown.py",
        "tests/cluster/test_terminate.py",
        "tests/cluster/test_recovery.py",
    ),
    "orchestrator/cluster/recovery.py": ("tests/cluster/test_recovery.py",),
    "orchestrator/cluster/elsewhere.py": ("tests/cluster/test_elsewhere.py",),
    "orchestrator/aws/ec2/state_changes.py": ("tests/aws/ec2/test_state_changes.py",),
    "orchestrator/aws/ec2/instance_tags.py": ("tests/aws/ec2/test_instance_tags.py", "tests/cluster/test_meter.py"),
    "orchestrator/aws/identity.py": ("tests/aws/test_identity.py", "tests/aws/ec2/test_ownership.py"),
}
"""Files whose tests hold each module: every mutant is run with those of their tests that run its line."""
