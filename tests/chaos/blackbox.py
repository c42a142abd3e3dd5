"""The real program, a real embedded cloud with real SSH hosts, and kill -9: looked at from outside with boto3."""

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
from pathlib import Path
from typing import Any

import localcloud
from tests.support.embedded_cloud import UBUNTU, boto, image, wait_until
from tests.support.paths import ROOT

CONFIG = (
    "[cluster]\nname = {name}\nmax_hours = 1\n[aws]\nregion = us-west-2\nendpoint_url = {endpoint}\n"
    "ssh_from = 127.0.0.1/32\n[ssh]\nport = {port}\n[job]\nrun = job\n"
)
LONGEST_S = 60.0
LASTING = ("pending", "running", "stopping", "stopped")
OTHER = "arn:aws:iam::123456789012:user/colleague"


@dataclass(frozen=True)
class Plot:
    """What a seed decides.

    :param verb: that is struck.
    :param count: of machines.
    :param after: the part of its usual time after which it is struck.
    :param blow: SIGKILL, SIGINT, or SIGINT twice.
    :param moves: it is another computer that ends everything.
    """

    seed: int
    verb: str
    count: int
    after: float
    blow: str
    moves: bool


def plot(seed: int) -> Plot:
    """Draw a run."""
    chance = random.Random(f"run/{seed}")
    verb = chance.choice(("launch", "launch", "launch", "launch", "terminate", "stop", "experiment"))
    return Plot(
        seed,
        verb,
        chance.randint(1, 3),
        chance.uniform(0.15, 1.0),
        chance.choice(("kill", "kill", "ctrl-c", "ctrl-c twice")),
        chance.random() < 0.3,
    )


@dataclass
class Story:
    """How a run went."""

    plot: Plot
    broken: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    most: int = 0
    said: str = ""


USUAL = {"launch": 1.0, "experiment": 2.5, "terminate": 0.8, "stop": 0.7}
"""How long verbs take, measured in launches."""


@dataclass
class Desk:
    """A researcher's desk at the cloud in ``env``.

    :param usual_s: seconds that a launch takes here.
    """

    env: Mapping[str, str]
    folder: Path
    name: str
    usual_s: float = 3.0

    def prepare(self) -> None:
        """Write the config and a job."""
        job = self.folder / "job"
        job.mkdir(parents=True)
        head = f"[job]\npython = {sys.executable}\nsystem_packages = yes\n"
        (job / "job.ini").write_text(head + "single = sleep 1\nmulti = sleep 1\n")
        values = {"endpoint": self.env["AWS_ENDPOINT_URL"], "port": self.env["REHEARSAL_SSH_PORT"]}
        (self.folder / "config.ini").write_text(CONFIG.format(name=self.name, **values))

    def start(self, *words: str, home: str = "home") -> subprocess.Popen[str]:
        """Start the program as a user would."""
        environment = {**os.environ, **self.env, "STRATUS_HOME": str(self.folder / home), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "orchestrator", "--config", str(self.folder / "config.ini"), *words]
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

    def run(self, *words: str, home: str = "home") -> tuple[int, str]:
        """Let it come to its end."""
        process = self.start(*words, home=home)
        try:
            said, _ = process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate(timeout=10)
            return 124, said
        return process.returncode, said

    def machines(self) -> list[dict[str, Any]]:
        """Everything that our cluster has, or had, in EC2."""
        ec2 = boto(self.env, "ec2")
        wanted = [{"Name": "tag:stratus:cluster", "Values": [self.name]}]
        pages = ec2.get_paginator("describe_instances").paginate(Filters=wanted)
        found = [each for page in pages for group in page["Reservations"] for each in group["Instances"]]
        return [each for each in found if _tags(each).get("stratus:owner") != OTHER]


def tell(story: Plot, desk: Desk) -> Story:
    """Play a run: fair weather, the blow, a fresh start that ends everything."""
    told = Story(story)
    desk.prepare()
    if story.verb in ("terminate", "stop"):
        code, said = desk.run("launch", "-n", str(story.count), "--yes")
        if code:
            told.broken.append(f"launch in fair weather: exit {code}: {said[-300:]}")
    with _looking(desk, told):
        _strike(story, desk, told)
        _end(story, desk, told)
    return told


def _strike(story: Plot, desk: Desk, told: Story) -> None:
    count = ("-n", str(story.count), "--yes")
    words = {"launch": ("launch", *count), "experiment": ("experiment", "--multi", *count)}
    process = desk.start(*words.get(story.verb, (story.verb,)))
    try:
        process.wait(timeout=story.after * USUAL[story.verb] * desk.usual_s)
    except subprocess.TimeoutExpired:
        _blow(story, process)
    try:
        said, _ = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate(timeout=10)
        told.broken.append(f"{story.verb} went on for {LONGEST_S:.0f} s after {story.blow}")
    told.codes.append(process.returncode)
    told.said += said
    if "a bug in Stratus" in said or "Traceback" in said:
        told.broken.append(f"a bug: {said[-300:]}")


def _blow(story: Plot, process: subprocess.Popen[str]) -> None:
    if story.blow == "kill":
        process.kill()
        return
    process.send_signal(signal.SIGINT)
    if story.blow.endswith("twice"):
        try:
            process.wait(timeout=0.3)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)


def _end(story: Plot, desk: Desk, told: Story) -> None:
    """A fresh process, here or elsewhere, ends everything; then nothing is there, seen from outside."""
    code, said = desk.run("terminate", home="elsewhere" if story.moves else "home")
    told.codes.append(code)
    told.said += said
    there = [each for each in desk.machines() if each["State"]["Name"] in LASTING]
    if code == 4:
        told.broken += [f"{each['InstanceId']} was not listed" for each in there if each["InstanceId"] not in said]
        code, said = desk.run("terminate")
        there = [each for each in desk.machines() if each["State"]["Name"] in LASTING]
    if code:
        told.broken.append(f"terminate: exit {code}: {said[-300:]}")
    told.broken += [f"an orphan: {each['InstanceId']} {each['State']['Name']}" for each in there]
    told.broken += _left(desk)


def _left(desk: Desk) -> Iterator[str]:
    """Groups, keys and processes that are still there."""
    ec2 = boto(desk.env, "ec2")
    ours = [{"Name": "tag:stratus:cluster", "Values": [desk.name]}]
    for group in ec2.describe_security_groups(Filters=ours)["SecurityGroups"]:
        if _tags(group).get("stratus:owner") != OTHER:
            yield f"a group is left: {group['GroupName']}"
    for pair in ec2.describe_key_pairs(Filters=ours)["KeyPairs"]:
        yield f"a key pair is left: {pair['KeyName']}"
    ids = {each["InstanceId"] for each in desk.machines()}
    try:
        wait_until(lambda: not processes(ids))
    except AssertionError:
        yield f"processes are left: {processes(ids)}"


def processes(ids: Iterable[str]) -> list[int]:
    """The processes of machines; each carries its machine's id."""
    marks = [f"LOCALCLOUD_INSTANCE={each}".encode() for each in ids]
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _holds(path, marks)]


def _holds(path: Path, marks: list[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:  # it has just ended
        return False
    return any(mark in content for mark in marks)


@contextmanager
def _looking(desk: Desk, told: Story) -> Iterator[None]:
    """Look all the time how many machines there are."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.15):
            runs = Counter(
                _tags(each).get("stratus:run", "") for each in desk.machines() if each["State"]["Name"] in LASTING
            )
            told.most = max([told.most, *runs.values()])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)
        if told.most > told.plot.count:
            told.broken.append(f"{told.most} machines of one launch, {told.plot.count} were wanted")


def _tags(thing: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}


def neighbour(env: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Launch a colleague's machine for every name of a cluster; returns their ids and states."""
    ec2 = boto(env, "ec2")
    for name in names:
        tags = {"Name": f"{name}-0", "stratus:cluster": name, "stratus:owner": OTHER, "stratus:hosts": f"{name}-0"}
        ec2.run_instances(
            ImageId=image(env, UBUNTU),
            InstanceType="c7i.2xlarge",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )
    return _neighbours(env)


def _neighbours(env: Mapping[str, str]) -> dict[str, str]:
    wanted = [{"Name": "tag:stratus:owner", "Values": [OTHER]}]
    pages = boto(env, "ec2").get_paginator("describe_instances").paginate(Filters=wanted)
    return {
        each["InstanceId"]: str(sorted(_tags(each).items()))
        for page in pages
        for group in page["Reservations"]
        for each in group["Instances"]
        if each["State"]["Name"] in ("pending", "running")
    }


def stories(seeds: Iterable[int], *, at_once: int = 2) -> tuple[list[Story], int]:
    """Play runs on one cloud; returns them, and how many of a colleague's machines were touched."""
    folder = Path(tempfile.mkdtemp(prefix="runs-"))
    home = folder / "cloud"
    env = localcloud.up(home, pending=0.6, boot=0.3, bound_to=os.getpid())
    try:
        plots = [plot(seed) for seed in seeds]
        usual = _usual(Desk(env, folder / "usual", "usual"))
        theirs = neighbour(env, [f"c{plot.seed}" for plot in plots[:: max(1, len(plots) // 3)]])
        with ThreadPoolExecutor(at_once) as crew:
            desks = [Desk(env, folder / f"c{one.seed}", f"c{one.seed}", usual) for one in plots]
            told = list(crew.map(tell, plots, desks))
        now = _neighbours(env)
        return told, sum(now.get(each) != tags for each, tags in theirs.items())
    finally:
        localcloud.down(home)
        shutil.rmtree(folder, ignore_errors=True)


def _usual(desk: Desk) -> float:
    """Measure a launch in fair weather."""
    desk.prepare()
    began = time.monotonic()
    code, said = desk.run("launch", "-n", "2", "--yes")
    seconds = time.monotonic() - began
    assert code == 0, said
    assert desk.run("terminate")[0] == 0
    return seconds


def play(seeds: Iterable[int], *, at_once: int = 2) -> bool:
    """Play runs, print what came of them, and return whether any failed."""
    began = time.monotonic()
    told, touched = stories(seeds, at_once=at_once)
    failed = [story for story in told if story.broken]
    for story in failed:
        print(f"run {story.plot.seed} {story.plot}: {'; '.join(story.broken)}")
    orphans = sum("an orphan" in what for story in told for what in story.broken)
    more = sum("were wanted" in what for story in told for what in story.broken)
    never = "never more than N alive" if not more else f"more than N alive in {more}"
    kills = Counter(story.plot.blow for story in told)
    print(
        f"{len(told)} runs of the real program, {orphans} orphans, {touched} foreign touched, {never}; "
        f"{len(failed)} failed; {', '.join(f'{count} {blow}' for blow, count in kills.items())}; "
        f"{time.monotonic() - began:.0f} s"
    )
    return bool(failed or touched)
