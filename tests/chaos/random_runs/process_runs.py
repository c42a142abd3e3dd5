"""Random runs of the real program against a real embedded cloud with real SSH hosts, interrupted by signals.

The account is checked from outside, through boto3.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import localcloud
from tests.chaos.invariants import ACTIVE, OTHER_ARN
from tests.support.localcloud.clients import UBUNTU, boto, image, wait_until
from tests.support.paths import ROOT

CONFIG = (
    "[cluster]\nname = {name}\nmax_hours = 1\n[aws]\nregion = us-west-2\nendpoint_url = {endpoint}\n"
    "ssh_from = 127.0.0.1/32\n[ssh]\nport = {port}\n[job]\nrun = job\n"
)
LIMIT_S = 60.0
RELATIVE_DURATION = {"launch": 1.0, "experiment": 2.5, "terminate": 0.8, "stop": 0.7}
"""Durations of the verbs, as multiples of a launch."""


@dataclass(frozen=True)
class ProcessRunPlan:
    """Everything that follows from a seed.

    :param verb: the verb that is interrupted.
    :param count: VMs to launch.
    :param interrupt_at: the moment of the signal, as a fraction of the verb's usual duration.
    :param signal: ``kill``, ``ctrl-c`` or ``ctrl-c twice``.
    :param terminate_elsewhere: everything is terminated from another home folder, as on another computer.
    :param named_group: the settings name a security group of the user.
    :param home_is_a_file: this computer's home folder cannot be used when everything is terminated.
    """

    seed: int
    verb: str
    count: int
    interrupt_at: float
    signal: str
    terminate_elsewhere: bool
    named_group: bool = False
    home_is_a_file: bool = False


def generate(seed: int) -> ProcessRunPlan:
    """Return the plan of a seed."""
    chance = random.Random(f"run/{seed}")
    verb = chance.choice(("launch", "launch", "launch", "launch", "terminate", "stop", "experiment"))
    return ProcessRunPlan(
        seed,
        verb,
        chance.randint(1, 3),
        chance.uniform(0.15, 1.0),
        chance.choice(("kill", "kill", "ctrl-c", "ctrl-c twice")),
        chance.random() < 0.3,
        chance.random() < 0.4,
        chance.random() < 0.2,
    )


@dataclass
class ProcessRunResult:
    """The outcome of a run.

    :param most_instances: of one launch at the same time.
    """

    plan: ProcessRunPlan
    violations: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    most_instances: int = 0
    output: str = ""


@dataclass
class Workstation:
    """A folder with a config file and a job, from which the program is started against the cloud in ``env``.

    :param name: of the cluster.
    :param launch_s: usual duration of a launch on this computer.
    """

    env: Mapping[str, str]
    folder: Path
    name: str
    launch_s: float = 3.0

    @cached_property
    def ec2(self) -> Any:
        """Client of the account; made once, because that takes longer than its calls."""
        return boto(self.env, "ec2")

    def prepare(self, *, group_id: str = "") -> None:
        """Write the config file and the job.

        :param group_id: security group of the user that the settings name; empty for none.
        """
        job = self.folder / "job"
        job.mkdir(parents=True)
        head = f"[job]\npython = {sys.executable}\nsystem_packages = yes\n"
        (job / "job.ini").write_text(head + "single = sleep 1\nmulti = sleep 1\n")
        values = {"endpoint": self.env["AWS_ENDPOINT_URL"], "port": self.env["REHEARSAL_SSH_PORT"]}
        text = CONFIG.format(name=self.name, **values)
        named = f"[aws]\nsecurity_group_id = {group_id}\n" if group_id else "[aws]\n"
        (self.folder / "config.ini").write_text(text.replace("[aws]\n", named))

    def start(self, *args: str, home: str = "home") -> subprocess.Popen[str]:
        """Start the program in a process group of its own."""
        environment = {**os.environ, **self.env, "STRATUS_HOME": str(self.folder / home), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "orchestrator", "--config", str(self.folder / "config.ini"), *args]
        return subprocess.Popen(
            command,
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *args: str, home: str = "home") -> tuple[int, str]:
        """Run the program to its end; return its exit code (124 if it was killed after the limit) and output."""
        process = self.start(*args, home=home)
        try:
            output, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate(timeout=10)
            return 124, output
        return process.returncode, output

    def instances(self) -> list[dict[str, Any]]:
        """Return all instances of our cluster, terminated ones included."""
        ec2 = self.ec2
        filters = [{"Name": "tag:stratus:cluster", "Values": [self.name]}]
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
        instances = [instance for page in pages for group in page["Reservations"] for instance in group["Instances"]]
        return [instance for instance in instances if _tags(instance).get("stratus:owner") != OTHER_ARN]

    def active_instances(self) -> list[dict[str, Any]]:
        """Return the instances of our cluster that are not terminated or shutting down."""
        return [instance for instance in self.instances() if instance["State"]["Name"] in ACTIVE]


def run_one(plan: ProcessRunPlan, workstation: Workstation) -> ProcessRunResult:
    """Prepare without faults, interrupt the verb, then terminate everything in a new process."""
    result = ProcessRunResult(plan)
    workstation.prepare(group_id=_create_group(workstation) if plan.named_group else "")
    if plan.verb in ("terminate", "stop"):
        code, output = workstation.run("launch", "-n", str(plan.count), "--yes")
        if code:
            result.violations.append(f"launch without faults: exit {code}: {output[-300:]}")
    with _counting_instances(workstation, result):
        _run_and_interrupt(plan, workstation, result)
        _terminate_and_check(plan, workstation, result)
    return result


def _create_group(workstation: Workstation) -> str:
    """Create a security group of the user, which admits this computer by SSH, and return its id."""
    ec2 = workstation.ec2
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    group_id: str = ec2.create_security_group(
        GroupName=f"named-{workstation.name}", Description="of the user", VpcId=vpcs[0]["VpcId"]
    )["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group_id,
        IpPermissions=[
            {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "127.0.0.0/8"}], "UserIdGroupPairs": [{"GroupId": group_id}]}
        ],
    )
    return group_id


def _run_and_interrupt(plan: ProcessRunPlan, workstation: Workstation, result: ProcessRunResult) -> None:
    count = ("-n", str(plan.count), "--yes")
    commands = {"launch": ("launch", *count), "experiment": ("experiment", "--multi", *count)}
    process = workstation.start(*commands.get(plan.verb, (plan.verb,)))
    try:
        process.wait(timeout=plan.interrupt_at * RELATIVE_DURATION[plan.verb] * workstation.launch_s)
    except subprocess.TimeoutExpired:
        _send_signal(plan, process)
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate(timeout=10)
        result.violations.append(f"{plan.verb} went on for {LIMIT_S:.0f} s after {plan.signal}")
    result.exit_codes.append(process.returncode)
    result.output += output
    if "a bug in Stratus" in output or "Traceback" in output:
        result.violations.append(f"a bug: {output[-300:]}")


def _send_signal(plan: ProcessRunPlan, process: subprocess.Popen[str]) -> None:
    if plan.signal == "kill":
        process.kill()
        return
    process.send_signal(signal.SIGINT)
    if plan.signal.endswith("twice"):
        try:
            process.wait(timeout=0.3)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)


def _terminate_and_check(plan: ProcessRunPlan, workstation: Workstation, result: ProcessRunResult) -> None:
    """Terminate everything in a new process; check from outside that nothing is left, or that it is listed."""
    home = "elsewhere" if plan.terminate_elsewhere else "home"
    if plan.home_is_a_file:
        shutil.rmtree(workstation.folder / home, ignore_errors=True)
        (workstation.folder / home).write_text("not a folder\n")
    code, output = workstation.run("terminate", home=home)
    result.exit_codes.append(code)
    result.output += output
    left = workstation.active_instances()
    if code == 4:
        ids = [instance["InstanceId"] for instance in left]
        result.violations += [f"{instance_id} was not listed" for instance_id in ids if instance_id not in output]
        code, output = workstation.run("terminate", home="third" if plan.home_is_a_file else "home")
        left = workstation.active_instances()
    if code:
        result.violations.append(f"terminate: exit {code}: {output[-300:]}")
    result.violations += [f"an orphan: {instance['InstanceId']} {instance['State']['Name']}" for instance in left]
    result.violations += _remains(workstation)


def _remains(workstation: Workstation) -> Iterator[str]:
    """Yield security groups, key pairs and processes that are still there."""
    ec2 = workstation.ec2
    filters = [{"Name": "tag:stratus:cluster", "Values": [workstation.name]}]
    for group in ec2.describe_security_groups(Filters=filters)["SecurityGroups"]:
        if _tags(group).get("stratus:owner") != OTHER_ARN:
            yield f"a security group is left: {group['GroupName']}"
    for pair in ec2.describe_key_pairs(Filters=filters)["KeyPairs"]:
        yield f"a key pair is left: {pair['KeyName']}"
    ids = {instance["InstanceId"] for instance in workstation.instances()}
    try:
        wait_until(lambda: not processes(ids))
    except AssertionError:
        yield f"processes are left: {processes(ids)}"


def processes(ids: Iterable[str]) -> list[int]:
    """Return the processes of instances, found by the instance id in their environment."""
    marks = [f"LOCALCLOUD_INSTANCE={instance_id}".encode() for instance_id in ids]
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _contains(path, marks)]


def _contains(path: Path, marks: list[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:  # the process has just exited
        return False
    return any(mark in content for mark in marks)


@contextmanager
def _counting_instances(workstation: Workstation, result: ProcessRunResult) -> Iterator[None]:
    """Count the instances of each launch in a thread of its own, as long as the context is open."""
    stop = threading.Event()

    def count() -> None:
        while not stop.wait(0.15):
            launches = Counter(_tags(instance).get("stratus:run", "") for instance in workstation.active_instances())
            result.most_instances = max([result.most_instances, *launches.values()])

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)
        if result.most_instances > result.plan.count:
            result.violations.append(f"{result.most_instances} instances of one launch, {result.plan.count} requested")


def _tags(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}


def launch_foreign_instances(env: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Launch an instance of another owner for each cluster name; return ids and tags."""
    ec2 = boto(env, "ec2")
    for name in names:
        tags = {"Name": f"{name}-0", "stratus:cluster": name, "stratus:owner": OTHER_ARN, "stratus:hosts": f"{name}-0"}
        ec2.run_instances(
            ImageId=image(env, UBUNTU),
            InstanceType="c7i.2xlarge",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )
    return _foreign_instances(env)


def _foreign_instances(env: Mapping[str, str]) -> dict[str, str]:
    filters = [{"Name": "tag:stratus:owner", "Values": [OTHER_ARN]}]
    pages = boto(env, "ec2").get_paginator("describe_instances").paginate(Filters=filters)
    return {
        instance["InstanceId"]: str(sorted(_tags(instance).items()))
        for page in pages
        for group in page["Reservations"]
        for instance in group["Instances"]
        if instance["State"]["Name"] in ("pending", "running")
    }


def run_all(seeds: Iterable[int], *, at_once: int = 2) -> tuple[list[ProcessRunResult], int]:
    """Execute runs on one cloud; return their results and the number of foreign instances that were changed."""
    folder = Path(tempfile.mkdtemp(prefix="runs-"))
    home = folder / "cloud"
    env = localcloud.up(home, pending=0.6, boot=0.3, bound_to=os.getpid())
    try:
        plans = [generate(seed) for seed in seeds]
        launch_s = _measure_launch(Workstation(env, folder / "usual", "usual"))
        foreign = launch_foreign_instances(env, [f"c{plan.seed}" for plan in plans[:: max(1, len(plans) // 3)]])
        with ThreadPoolExecutor(at_once) as pool:
            workstations = [Workstation(env, folder / f"c{plan.seed}", f"c{plan.seed}", launch_s) for plan in plans]
            results = list(pool.map(run_one, plans, workstations))
        now = _foreign_instances(env)
        return results, sum(now.get(instance_id) != tags for instance_id, tags in foreign.items())
    finally:
        localcloud.down(home)
        shutil.rmtree(folder, ignore_errors=True)


def _measure_launch(workstation: Workstation) -> float:
    """Return the seconds that a launch without faults takes on this computer."""
    workstation.prepare()
    start = time.monotonic()
    code, output = workstation.run("launch", "-n", "2", "--yes")
    elapsed_s = time.monotonic() - start
    assert code == 0, output
    assert workstation.run("terminate")[0] == 0
    return elapsed_s


def run_and_print(seeds: Iterable[int], *, at_once: int = 2) -> bool:
    """Execute runs and print their totals; True if one failed."""
    start = time.monotonic()
    results, touched = run_all(seeds, at_once=at_once)
    failed = [result for result in results if result.violations]
    for result in failed:
        print(f"run {result.plan.seed} {result.plan}: {'; '.join(result.violations)}")
    orphans = sum("an orphan" in violation for result in results for violation in result.violations)
    over_limit = sum("requested" in violation for result in results for violation in result.violations)
    limit = f"too many instances in {over_limit}" if over_limit else "never too many instances"
    signals = Counter(result.plan.signal for result in results)
    print(
        f"{len(results)} runs of the real program, {orphans} orphans, {touched} foreign touched, {limit}; "
        f"{len(failed)} failed; {', '.join(f'{count} {name}' for name, count in signals.items())}; "
        f"{time.monotonic() - start:.0f} s"
    )
    return bool(failed or touched)
