"""Results of a run, fetched from hosts that are a table of folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.clock import REAL_CLOCK, Clock
from orchestrator.core.errors import HostError, HostsFailed
from orchestrator.core.host import Host
from orchestrator.hosts.parallel import Outcomes
from orchestrator.jobs import results
from orchestrator.jobs.results import Metrics, Received
from orchestrator.jobs.runs import LocatedRun, Run
from orchestrator.ssh.receive import Part
from orchestrator.ssh.tar_stream import LimitReached, UnpackBudget
from tests.support.jobs.job_folder import example_host

RUN_ID = "20261120-141203-k3x"
TOP = f"stratus/runs/{RUN_ID}"
MAIN = ("main",)


@dataclass
class Folders:
    """Folders of hosts, in place of SSH.

    :param content: (host, path) -> content by file name, or the error of fetching it.
    :param timeouts_s: of the transfers.
    :param parts: of the transfers.
    :param budgets: of the transfers of each host.
    """

    content: Mapping[tuple[str, str], Mapping[str, str] | HostError]
    clock: Clock = REAL_CLOCK
    timeouts_s: set[float] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)
    budgets: dict[str, UnpackBudget] = field(default_factory=dict)

    def fetch_parts(
        self, host: Host, parts: Sequence[Part], *, timeout_s: float, budget: UnpackBudget
    ) -> list[int | None]:
        """As `SshClient.fetch_parts`; a file named link is a link."""
        self.timeouts_s.add(timeout_s)
        self.parts += parts
        self.budgets[host.name] = budget
        return [self._receive(host, part) for part in parts]

    def _receive(self, host: Host, part: Part) -> int | None:
        files = self.content.get((host.name, part.remote))
        if files is None:
            return None
        if isinstance(files, HostError):
            raise files
        part.local.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            if part.on_skipped and name.startswith("link"):
                part.on_skipped(name, f"a link to {text}")
                continue
            (part.local / name).parent.mkdir(parents=True, exist_ok=True)
            (part.local / name).write_text(text)
        if part.on_received:
            part.on_received()
        return sum(map(len, files.values()))


def fetch(
    folder: Path, content: Mapping[tuple[str, str], Any], roles: Mapping[str, tuple[str, ...]], *outputs: str
) -> Outcomes[Received]:
    """Fetch the results of a run from hosts with some content."""
    run = Run(RUN_ID, "j", "command", len(roles) > 1, roles, outputs or ("outputs",), 0)
    located = LocatedRun(run, tuple(example_host(int(name[-1])) for name in roles))
    hosts: Any = Folders(content)
    outcomes = results.fetch(hosts, located, folder, UnpackBudget())
    assert len({id(budget) for budget in hosts.budgets.values()}) == len(roles)
    return outcomes


def files(folder: Path) -> dict[str, str]:
    """Return the content of each file by its path."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def logs(*hosts: str) -> dict[tuple[str, str], dict[str, str]]:
    """Return the folders of the logs of some hosts."""
    return {(host, f"{TOP}/log"): {"main.log": f"log of {host}"} for host in hosts}


STATE = {"versions.txt": "numpy==2.1\n", "image.txt": "sha256:1\n", "main.rc": "0\n"}


def test_outputs_logs_and_state_of_one_host(tmp_path: Path) -> None:
    content = {
        **logs("ml-0"),
        ("ml-0", f"{TOP}/state"): STATE,
        ("ml-0", f"{TOP}/workdir/out"): {"a": "1", "sub/b": "22"},
    }
    run = Run(RUN_ID, "j", "command", False, {"ml-0": MAIN}, ("out",), 0)
    hosts: Any = Folders(content)
    outcomes = results.fetch(hosts, LocatedRun(run, (example_host(0),)), tmp_path / "runs/run", UnpackBudget())

    assert files(tmp_path / "runs/run") == {
        "logs/ml-0.main.log": "log of ml-0",
        "versions.txt": "numpy==2.1\n",
        "image.txt": "sha256:1\n",
        "outputs/a": "1",
        "outputs/sub/b": "22",
    }
    assert results.list_outputs(tmp_path / "runs/run") == ("outputs/a", "outputs/sub/b")
    received = len("log of ml-0") + sum(map(len, STATE.values())) + 3
    assert outcomes.successful_values() == [Received(received, {"out"})]
    assert results.left_out_warning(outcomes.successful_values()) == ""
    assert hosts.timeouts_s == {3600}
    # On the disk of the results, to which they are moved.
    assert all(part.local.is_relative_to(tmp_path / "runs/run") for part in hosts.parts)
    assert hosts.parts[-1].file_folder == tmp_path / "runs/run/outputs"


def test_outputs_of_several_hosts_are_in_a_folder_each_and_state_is_that_of_the_first(tmp_path: Path) -> None:
    content = {
        **logs("ml-0", "ml-1", "ml-2"),
        ("ml-0", f"{TOP}/state"): STATE,
        ("ml-1", f"{TOP}/state"): {"versions.txt": "other\n"},
        **{(f"ml-{number}", f"{TOP}/workdir/outputs"): {"a": str(number)} for number in range(3)},
    }
    outcomes = fetch(tmp_path, content, {"ml-0": MAIN, "ml-1": ("worker", "main"), "ml-2": ("worker",)})

    received = files(tmp_path)
    assert {name: text for name, text in received.items() if name.startswith("outputs")} == {
        "outputs/ml-0/a": "0",
        "outputs/ml-1/a": "1",
    }
    assert received["versions.txt"] == "numpy==2.1\n"
    assert {f"logs/ml-{number}.main.log" for number in range(3)} < received.keys()
    assert outcomes["ml-2"].unwrap() == Received(len("log of ml-2"))


def test_several_outputs_are_in_a_folder_each(tmp_path: Path) -> None:
    content = {
        **logs("ml-0"),
        ("ml-0", f"{TOP}/state"): STATE,
        ("ml-0", f"{TOP}/workdir/deep/models"): {"m": "1"},
        ("ml-0", f"{TOP}/workdir/plots"): {"p": "2"},
    }
    fetch(tmp_path, content, {"ml-0": MAIN}, "deep/models", "plots")

    assert {"outputs/models/m", "outputs/plots/p"} < files(tmp_path).keys()


def test_outputs_that_end_alike_are_in_folders_of_their_whole_paths(tmp_path: Path) -> None:
    """The others stay where they were fetched until now."""
    outputs = ("a/out", "b/out", "plots/p", "x/b", "y/plots")
    content = {
        **logs("ml-0"),
        ("ml-0", f"{TOP}/state"): STATE,
        **{("ml-0", f"{TOP}/workdir/{output}"): {"file": output} for output in outputs},
    }
    fetch(tmp_path, content, {"ml-0": MAIN}, *outputs)

    fetched = {name: text for name, text in files(tmp_path).items() if name.startswith("outputs")}
    names = ("a/out", "b/out", "p", "x/b", "plots")
    assert fetched == {f"outputs/{name}/file": output for name, output in zip(names, outputs, strict=True)}


def test_what_is_left_out_of_the_outputs_is_one_line(tmp_path: Path) -> None:
    links = {f"link{number}\x1b[2J": "../x" * 100 for number in range(2000)}
    content = {
        **logs("ml-0", "ml-1"),
        ("ml-0", f"{TOP}/state"): STATE,
        ("ml-0", f"{TOP}/workdir/outputs"): {"a": "1", "link": "sub"},
        ("ml-1", f"{TOP}/workdir/outputs"): links,
    }
    received = fetch(tmp_path, content, {"ml-0": MAIN, "ml-1": MAIN}).successful_values()

    line = results.left_out_warning(received)
    assert line.startswith(
        r"not fetched: 'outputs/ml-0/link: a link to sub', 'outputs/ml-1/link0\x1b[2J: a link to ../x"
    )
    assert line.endswith(" and 1,998 more (only files, and links to files in the same output)")
    assert len(line) < 500


def test_outputs_that_no_host_has_are_named_but_for_the_default(tmp_path: Path) -> None:
    content = {
        **logs("ml-0", "ml-1"),
        ("ml-0", f"{TOP}/state"): STATE,
        ("ml-1", f"{TOP}/workdir/model"): {"a": "1"},
    }
    names = ("model", "figures, tables", "outputs", "\x1b[2J")
    received = fetch(tmp_path, content, {"ml-0": MAIN, "ml-1": MAIN}, *names).successful_values()

    line = r"[job] outputs (one per line): the job wrote no 'figures, tables', '\x1b[2J'"
    assert results.absent_warning(received, names) == line
    assert results.absent_warning(received, ("model", "outputs")) == ""
    assert [host.outputs for host in received] == [set(), {"model"}]


def test_of_what_is_left_out_the_first_three_are_kept_in_part() -> None:
    received = Received()
    for _ in range(4):
        received.leave_out("x" * 200, "a pipe")

    assert (received.left_out, received.left_out_count) == ([f"'{'x' * 120}'"] * 3, 4)


@pytest.mark.parametrize(
    ("free_bytes", "max_bytes", "advice"),
    [
        (1 << 50, 3 << 29, "[job] max_fetch_gib = 1.5, max_fetch_files = 7"),
        ((3 << 29) + (256 << 20), 3 << 29, "[job] max_fetch_gib = 1.5, max_fetch_files = 7"),
        (1600 << 20, 1344 << 20, "free some space: 1600 MiB are free here, and 256 MiB stay free"),
        ((300 << 20) + 1, (44 << 20) + 1, "free some space: 300 MiB are free here, and 256 MiB stay free"),
        (5 << 20, 0, "free some space: 5 MiB are free here, and 256 MiB stay free"),
    ],
)
def test_a_fetch_leaves_room_on_the_disk(tmp_path: Path, free_bytes: int, max_bytes: int, advice: str) -> None:
    folders = {tmp_path: free_bytes}
    budget = results.fetch_budget(tmp_path / "new/runs", 1.5, 7, folders.__getitem__)

    assert (budget.max_bytes, budget.max_files, budget.advice) == (max_bytes, 7, advice)
    if "free some space" in advice:
        with pytest.raises(LimitReached, match="the disk of this computer is full: not all results were written"):
            budget.split(2)[0].take_bytes(max_bytes + 1)
    assert results.fetch_budget(tmp_path, 2**-30, 7).max_bytes == 1


def test_without_outputs_the_logs_are_fetched_and_any_other_error_is_the_hosts(tmp_path: Path) -> None:
    content = {
        **logs("ml-0", "ml-1"),
        ("ml-0", f"{TOP}/state"): STATE,
        ("ml-1", f"{TOP}/workdir/outputs"): HostError("no room", where="ml-1"),
    }
    outcomes = fetch(tmp_path, content, {"ml-0": MAIN, "ml-1": MAIN})

    assert outcomes["ml-0"].unwrap() == Received(len("log of ml-0") + sum(map(len, STATE.values())))
    assert (tmp_path / "outputs/ml-0").is_dir()
    assert [str(error) for error in outcomes.errors.values()] == ["ml-1: no room"]
    assert "logs/ml-1.main.log" in files(tmp_path)


def test_nothing_fetched_is_an_error_unless_the_limit_was_reached(tmp_path: Path) -> None:
    limit = {("ml-0", f"{TOP}/log"): LimitReached("stopped", where="ml-0")}
    errors = fetch(tmp_path, limit, {"ml-0": MAIN, "ml-1": MAIN}).errors

    assert [type(error) for error in errors.values()] == [LimitReached, HostError]
    with pytest.raises(HostsFailed, match="nothing could be fetched"):
        fetch(tmp_path, {}, {"ml-0": MAIN})
    assert isinstance(fetch(tmp_path, limit, {"ml-0": MAIN}).errors["ml-0"], LimitReached)


def test_a_folder_on_this_computer_that_leads_elsewhere_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "outputs").symlink_to(tmp_path / "elsewhere")
    content = {**logs("ml-0"), ("ml-0", f"{TOP}/state"): STATE, ("ml-0", f"{TOP}/workdir/outputs"): {"a": "1"}}

    with pytest.raises(HostsFailed) as caught:
        fetch(folder, content, {"ml-0": MAIN})
    assert "it leads outside" in str(caught.value.errors["ml-0"])
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_logs_replace_what_an_earlier_fetch_left(tmp_path: Path) -> None:
    content = {
        ("ml-0", f"{TOP}/log"): {"main.log": "new", "sub/file": "new", "more/file": "new"},
        ("ml-0", f"{TOP}/state"): {"versions.txt/file": "a folder", "image.txt": "sha256:1\n"},
    }
    (tmp_path / "logs/ml-0.main.log").mkdir(parents=True)
    (tmp_path / "logs/ml-0.main.log/old").write_text("old")
    (tmp_path / "logs/ml-0.sub").write_text("old")
    fetch(tmp_path, content, {"ml-0": MAIN})

    assert files(tmp_path) == {
        "logs/ml-0.main.log": "new",
        "logs/ml-0.sub/file": "new",
        "logs/ml-0.more/file": "new",
        "image.txt": "sha256:1\n",
    }


def test_a_log_whose_name_is_too_long_here_is_one_error(tmp_path: Path) -> None:
    content = {("ml-0", f"{TOP}/log"): {"x" * 255: "text"}}

    with pytest.raises(HostsFailed) as caught:
        fetch(tmp_path, content, {"ml-0": MAIN})
    assert str(caught.value.errors["ml-0"]).startswith("ml-0: cannot write 'ml-0.xxx")


# -- what was fetched


def metrics_of(folder: Path, **texts: str) -> Metrics:
    """Return the metrics of outputs with a ``metrics.json`` in some folders, ``__`` for a slash."""
    for name, text in texts.items():
        path = folder / "outputs" / name.replace("__", "/").removesuffix("top") / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return results.read_metrics(folder, ["a", "b"])


def test_metrics_are_the_first_file_of_the_outputs(tmp_path: Path) -> None:
    assert metrics_of(tmp_path) == Metrics()
    assert metrics_of(tmp_path / "1", deep__fold='{"x": 1}') == Metrics({"x": 1})
    assert metrics_of(tmp_path / "2", a='{"x": 1}') == Metrics({"x": 1})
    assert metrics_of(tmp_path / "3", a='{"x": 1}', b='{"x": 2}') == Metrics({"x": 1}, host="a")
    assert metrics_of(tmp_path / "4", fold='{"x": 1}', other='{"x": 2}') == Metrics({"x": 1})
    assert metrics_of(tmp_path / "5", top='{"x": 1}', a='{"x": 2}').host in ("", "a")
    assert metrics_of(tmp_path / "6", a="[1]", b='{"x": 2}') == Metrics()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{half", "is damaged: no JSON"),
        ("[" * 100_000, "is not read: its brackets are nested too deeply"),
        ('{"x": ' + "1" * 5000 + "}", "is not read: it has a whole number of more than 4300 digits"),
        ("1" * (17 << 20), "is not read: it is longer than 16 MiB"),
    ],
    ids=["half", "nested", "digits", "long"],
)
def test_metrics_that_cannot_be_read_are_a_problem_with_their_file(tmp_path: Path, text: str, reason: str) -> None:
    assert metrics_of(tmp_path, a=text) == Metrics(problem=f"outputs/a/metrics.json {reason}")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that is there and cannot be read")
def test_metrics_on_a_damaged_disk_are_a_problem_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    # Its first page is not mapped: an input/output error for every user, root included.
    (tmp_path / "outputs/metrics.json").symlink_to("/proc/self/mem")

    problem = results.read_metrics(tmp_path, ()).problem
    assert problem == "outputs/metrics.json cannot be read: Input/output error"


def test_files_are_read_up_to_their_limit(tmp_path: Path) -> None:
    largest = json.dumps({"x": 1}).ljust(16 << 20)

    assert metrics_of(tmp_path, a=largest).values == {"x": 1}
    assert metrics_of(tmp_path, a=largest + " ").problem


def test_versions_and_images_of_a_run(tmp_path: Path) -> None:
    assert (results.read_versions(tmp_path), results.read_image_digests(tmp_path)) == ({}, ())
    (tmp_path / "versions.txt").write_text("numpy==2.1\n-e git+x\n\xff==\n", encoding="latin-1")
    (tmp_path / "image.txt").write_text("sha256:1\nrepo@sha256:2\n")

    assert results.read_versions(tmp_path) == {"numpy": "2.1"}
    assert results.read_image_digests(tmp_path) == ("sha256:1", "repo@sha256:2")
    assert results.list_outputs(tmp_path) == ()
