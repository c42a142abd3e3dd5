"""Launches of many VMs in virtual time: seconds over the cloud's own, API calls, and CPU, by number of VMs.

    scripts/bench scale [--hosts 8,32,100,1000] [--json FILE]

The cloud is simulated in this process, with EC2's times: 17 s pending, 4 s from running to SSH. Seconds are those of
its clock, on which only waiting counts; CPU and peak memory are those of client and simulated cloud together, without
connections. Memory of the client is an upper bound: that of a process with a client, plus all that this process has
needed since the first launch, for the cloud's VMs too. The bars: at most 3 s over the 21 s at any number, and a client
of at most 150 MiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from localcloud.core.addresses import LARGE_BLOCK  # noqa: E402
from localcloud.ec2.environment import StateDurations  # noqa: E402 - the path is set above
from localcloud.simulation.cloud import InMemoryCloud  # noqa: E402
from tests.support.simulated_project import SimulatedProject  # noqa: E402

OVER_S = 3.0
CLIENT_MIB = 150
POLLS = "DescribeInstances"
CLIENT = """
import resource, sys
from pathlib import Path
import paramiko
from orchestrator.config import settings
from orchestrator.session import Session
folder = Path(sys.argv[1])
(folder / "config.ini").write_text("[aws]\\nregion = us-west-2\\n")
session = Session(settings.load(folder / "config.ini", {}), home=folder / "home", runs=folder / "runs")
for service in ("ec2", "ssm", "pricing", "service-quotas", "iam", "sts"):
    session.context.clients.service(service)
session.cluster, session.jobs, session.hosts
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def own_mib() -> float:
    """Return the peak memory, MiB, of a process with a client that has launched nothing."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", CLIENT, folder]
        # The first one on a computer shortens botocore's descriptions of services for all that follow.
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def measure(count: int) -> dict[str, Any]:
    """Return the figures of one launch."""
    durations = StateDurations.real()
    with tempfile.TemporaryDirectory() as folder:
        cloud = InMemoryCloud(7, durations=durations, block=LARGE_BLOCK)
        # 1,000 of these have less vCPUs than the account's quota.
        project = SimulatedProject(cloud, Path(folder), cluster="instance_type = c7i.large")
        session, calls = project.session(), Counter[str]()
        session.context.clients.session.events.register("before-call", lambda model, **_: calls.update([model.name]))
        plan = session.cluster.plan(count)
        calls.clear()
        began_s, cpu_s = project.clock.monotonic(), time.process_time()
        report = session.cluster.launch(plan)
        seconds = project.clock.monotonic() - began_s
        cpu_s = time.process_time() - cpu_s
        assert len(report.ready) == count, report.failed
        session.close()
    over_s = seconds - durations.pending_s - durations.boot_s
    polls, others = calls.pop(POLLS), sum(calls.values())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = {"hosts": count, "over_s": over_s, "cpu_s": cpu_s, "polls": polls, "other_calls": others}
    return row | {"peak_mib": peak_mib}


def main() -> int:
    """Print the figures; 1 if one is above its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="8,32,100,1000", help="numbers of VMs, comma-separated")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    client_mib = own_mib()
    for count in map(int, options.hosts.split(",")):
        row = measure(count)
        rows.append(row)
        row["client_mib"] = client_mib + row["peak_mib"] - rows[0]["peak_mib"]
        row["met"] = row["over_s"] <= OVER_S and row["client_mib"] <= CLIENT_MIB
        calls = f"{row['polls']:3} polls, {row['other_calls']} other calls"
        figures = f"{row['over_s']:5.2f} s over the cloud's own   {calls}   {row['client_mib']:4.0f} MiB"
        bar = "" if row["met"] else "   ABOVE ITS BAR"
        print(f"{count:5} VMs   {figures}   {row['cpu_s'] * 1000 / count:6.1f} ms CPU per VM{bar}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
