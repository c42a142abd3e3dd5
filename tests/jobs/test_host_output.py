"""Output of remote scripts, parsed into records."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.core.output_line import OutputLine
from orchestrator.jobs import host_output, query
from orchestrator.jobs.follow import Follower
from orchestrator.jobs.host_output import LogReader
from orchestrator.ssh.channel import LineSplitter
from tests.support.jobs.job_folder import plan, write_job

RUN, OLDER = "20261120-141203-k3x", "20261119-000000-abc"
MANIFEST = json.dumps(
    {
        "run": RUN,
        "job": "j",
        "framework": "dask",
        "multi": True,
        "roles": {"a": ["main"], "b": ["worker"]},
        "outputs": ["outputs"],
        "dashboard": 8787,
    }
)
LISTED_BY_A = f"@@job {RUN} {MANIFEST}\n@@run {RUN} main yes - 2026-11-20T14:12:03.250Z -\n"
LISTED_BY_B = (
    f"@@job {RUN} {MANIFEST}\n@@run {RUN} worker no 143 2026-11-20T14:12:04Z 2026-11-20T14:12:09Z\n"
    f'@@job {OLDER} {{"run": "{OLDER}", "job": "j", "framework": "horovod", "multi": false, '
    '"roles": {"b": ["main"]}, "outputs": [], "dashboard": 0, "min_hosts": 2, "start": ["jobs/j", "j"]}\n'
    f"@@run {OLDER} main no 0 2026-11-19T00:00:00Z 2026-11-19T00:01:00Z\n"
)


def test_runs_are_put_together_from_all_hosts_oldest_first() -> None:
    older, newer = query.combine({"a": LISTED_BY_A, "b": LISTED_BY_B}).runs

    assert (older.run_id, older.min_hosts, older.start_args, older.seconds) == (
        OLDER,
        2,
        ("jobs/j", "j"),
        60.0,
    )
    assert (newer.run_id, newer.hosts, newer.main_hosts, newer.dashboard_port) == (
        RUN,
        ("a", "b"),
        ("a",),
        8787,
    )
    assert [(task.host, task.role, task.is_alive, task.exit_text) for task in newer.tasks] == [
        ("a", "main", True, ""),
        ("b", "worker", False, "143"),
    ]
    assert newer.started_at == datetime(2026, 11, 20, 14, 12, 3, 250_000, tzinfo=UTC)
    assert (newer.job, newer.framework, newer.multi, newer.outputs) == ("j", "dask", True, ("outputs",))
    assert (older.framework, older.multi, older.outputs) == ("horovod", False, ())


def test_a_run_whose_first_task_has_not_begun_is_the_newest() -> None:
    begun = LISTED_BY_B.split("\n", 2)[2]
    other = manifest(run=(unbegun := "20261118-000000-abc"))

    runs = query.combine({"a": f"@@job {unbegun} {other}\n{LISTED_BY_A}", "b": begun}).runs

    assert [run.run_id for run in runs] == [OLDER, RUN, unbegun]


def test_the_facts_of_a_record_are_read_whatever_its_bytes_are() -> None:
    assert host_output.manifest_facts(b'{"job": "\xff"}') == {"job": "\ufffd"}
    with pytest.raises(HostError, match=r"job\.json is damaged: no JSON object"):
        host_output.manifest_facts(b"[]")


def test_a_run_of_an_older_version_has_no_elastic_fields() -> None:
    (run,) = query.combine({"a": LISTED_BY_A}).runs

    assert (run.min_hosts, run.start_args) == (0, ())


def test_a_plan_is_the_run_that_its_hosts_will_report(job_folder: Path) -> None:
    job = plan(write_job(job_folder, "horovod", "min_hosts = 2\n"), 2)
    run = host_output.parse_manifest(job.manifest, job.run_id)

    assert (run.run_id, run.roles, run.start_args, run.min_hosts) == (job.run_id, job.roles, job.start_args, 2)


def test_the_start_of_a_run() -> None:
    assert host_output.parse_start("@@started main\n@@started worker\n").started == 2
    assert host_output.parse_start("@@exists\n").exists
    assert host_output.parse_start("@@busy 20261120-141200-k3x\n@@busy 20261120-141200-k3x\n@@busy \x1b[2J\n").busy == (
        "20261120-141200-k3x",
    )
    assert host_output.parse_start("@@missing packages of job\n").missing == "packages of job"


def test_a_script_that_was_cut_off_reports_no_number() -> None:
    assert host_output.parse_left("@@left 0\n") == 0
    assert host_output.parse_left("") is None


def test_killed_runs_and_processes_that_are_left() -> None:
    output = host_output.parse_kill(f"@@ended {RUN}\n@@ended ../x\nprocess 7 of r1: sleep\n@@left 1\n")

    assert (output.run_ids, output.left, output.stuck) == ((RUN,), 1, ("process 7 of r1: sleep",))


def test_files_arrive_with_every_byte() -> None:
    content = bytes(range(256))
    line = f"@@file mesh/key.pem {base64.b64encode(content).decode()}\n"

    assert host_output.parse_files(line) == {"mesh/key.pem": content}


def test_lines_of_follow_sh_are_told_from_the_jobs_whatever_the_job_prints() -> None:
    reader = host_output.LogReader("@@m4rk")
    printed = ["@@exit 3", "@@exit ", "@@beat", "@@", "@@m4rkexit 3", "@@spot 12:00", ""]
    received = [*printed, "@@m4rk spot 2026-11-20T14:12:03Z", "@@m4rk full", "@@m4rk other 1", "@@m4rk exit 7"]

    assert [line for text in received if (line := reader.feed(text)) is not None] == printed
    assert (reader.exit_text, reader.reclaim_time, reader.disk_full) == ("7", "2026-11-20T14:12:03Z", True)
    assert host_output.LogReader().mark != host_output.LogReader().mark


def test_the_exit_of_a_task() -> None:
    done = host_output.parse_exit("a", LogReader(exit_text="0"), ["out", " ", ""])
    lost = host_output.parse_exit("a", LogReader(), [])
    cancelled = host_output.parse_exit("a", LogReader(exit_text="cancelled", reclaim_time="12:00"), [])

    assert (done.ok, done.reason, done.tail) == (True, "exit", ("out",))
    assert (lost.ok, lost.exit_status, lost.reason) == (False, None, "lost")
    assert (cancelled.reason, cancelled.reclaim_time) == ("cancelled", "12:00")


@pytest.mark.parametrize("exit_text", ["\u00b2", "--1", "9" * 5000, "0x1", "\x1b[2J", "-", "1 2"])
def test_an_exit_status_that_is_none_is_a_lost_task(exit_text: str) -> None:
    task = host_output.parse_exit("a", LogReader(exit_text=exit_text), [])

    assert (task.ok, task.exit_status, task.reason) == (False, None, "lost")


@pytest.mark.parametrize(
    ("received", "lines"),
    [
        (["one", "@@m beat", "two"], ["one", "two"]),
        (["10 %@@m beat", " 20 %@@m beat", " done"], ["10 % 20 % done"]),
        (["10 %@@m beat disk 93 1024 /data", "@@m beat disk x", " done"], ["10 % done"]),
        (["no line end@@m beat", "", "@@m exit 0"], ["no line end"]),
        (["", "@@m beat", ""], ["", ""]),
    ],
)
def test_a_heartbeat_leaves_the_lines_of_the_job_as_they_were_written(received: list[str], lines: list[str]) -> None:
    reader = host_output.LogReader("@@m")

    whole = [line for text in received if (line := reader.feed(text)) is not None]

    assert whole == lines


def test_a_heartbeat_leaves_the_bytes_of_the_job_as_they_were_written() -> None:
    reader, splitter = host_output.LogReader("@@m"), LineSplitter()
    received = b"1%\r2%@@m beat\n\r3%\xff\n@@m exit 0\n"
    lines = [line for text in splitter.feed(received) if (line := reader.feed(text)) is not None]

    assert b"".join(line.raw + b"\n" * line.ends_line for line in lines) == b"1%\r2%\r3%\xff\n"


def test_a_progress_bar_is_one_line_when_a_connection_begins_anew() -> None:
    """follow.sh counts line feeds only; counted state by state, lines after it would be left out."""
    host = Host("ml-0", "10.0.0.7", "10.0.0.7", 22, "ubuntu", Path("key"), "", "i-0")
    follower = Follower(host, lambda host, line: None, lambda: 0.0)
    for line in LineSplitter().feed(b"1%\r2%\r3%\nend\n"):
        follower.read_line(line)

    assert follower.line_count == 2


def test_heartbeats_alone_fill_no_memory() -> None:
    reader = host_output.LogReader("@@m")

    longest = max(len(reader.feed("x" * 60_000 + "@@m beat") or "") for _ in range(100))

    assert longest < 2 * host_output.MAX_PARTIAL_BYTES


# -- hostile and damaged


def manifest(**changes: object) -> str:
    return json.dumps(json.loads(MANIFEST) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        MANIFEST[:-9],
        manifest(run="/home/u/.ssh"),
        manifest(run="../../../.ssh"),
        manifest(run="20261120-141203-k3y"),
        manifest(run=7),
        manifest(job="\x1b]0;owned\x07"),
        manifest(job="a/../b"),
        manifest(job="\u202egpj"),
        manifest(framework=None),
        manifest(roles=[]),
        manifest(roles={}),
        manifest(roles={"../x": ["main"]}),
        manifest(roles={"a": ["main"], "../x": ["main"]}),
        manifest(roles={"a": ["main", "x/y"]}),
        manifest(roles={"a": "main"}),
        manifest(roles={"\x1f": None}),
        manifest(roles={"a": ["x/y"]}),
        manifest(outputs=["x/.."]),
        manifest(outputs=["/etc"]),
        manifest(outputs=[".."]),
        manifest(outputs=[""]),
        manifest(outputs=["."]),
        manifest(outputs="outputs"),
        manifest(outputs=["a\nb"]),
        manifest(outputs=["x"] * 5000),
        manifest(dashboard=-1),
        manifest(dashboard="80"),
        manifest(min_hosts=1e9),
        manifest(start=["../../.ssh", "j", "venv"]),
        manifest(start=["jobs/j", "j", "venv", "../x=data"]),
        manifest(start=["jobs/j", "j", "venv", "data=../x"]),
    ],
)
def test_a_record_that_is_damaged_or_a_lie_is_one_line_and_the_others_go_on(text: str) -> None:
    listed = query.combine({"a": f"@@job {RUN} {text}\n", "b": LISTED_BY_B.split("\n", 2)[2]})

    assert [run.run_id for run in listed.runs] == [OLDER]
    (problem,) = listed.problems
    assert problem.startswith(f"a: run {RUN} is left out: job.json ")
    assert problem.isprintable()
    with pytest.raises(HostError, match=r"^run 20261120-141203-k3x: job\.json "):
        host_output.parse_manifest(text, RUN)


@pytest.mark.parametrize("name", ["..", "/etc", "\x1b[2Jx", "a/b", "r", "20261120-141203-k3x/.."])
def test_an_id_is_that_of_a_run(name: str) -> None:
    listed = query.combine({"a": f"@@job {name} {manifest(run=name)}\n"})

    assert listed.runs == ()
    assert len(listed.problems) == 1
    assert listed.problems[0].isprintable()


@pytest.mark.parametrize(
    ("fields", "state", "problem"),
    [
        ("main no ? - -", "lost", "exit status"),
        ("main no 0 soon -", "done", "start"),
        ("main no 0 2026-11-20T14:12:03 -", "done", "start"),
        ("main no 0 - 9999-12-31T23:59:59Z", "done", "end"),
        ("main no \u00b2 - -", "lost", "exit status"),
        ("main yes ? - -", "running", "exit status"),
        ("main no", "lost", "exit status, start, end"),
        ("main no 0 - - more", "lost", "exit status, start, end"),
    ],
)
def test_a_damaged_state_file_is_one_line_and_its_run_stays(fields: str, state: str, problem: str) -> None:
    job = LISTED_BY_A.splitlines()[0]

    listed = query.combine({"a": f"{job}\n@@run {RUN} {fields}\n"})

    assert [run.state for run in listed.runs] == [state]
    assert listed.problems == (f"a: run {RUN}: main: its file of {problem} is damaged",)


def test_tasks_with_names_of_no_role_are_left_out() -> None:
    job = LISTED_BY_A.splitlines()[0]
    listed = query.combine({"a": f"{job}\n@@run {RUN} ../x no 0 - -\n@@run\n@@run \n@@run  \n"})

    assert listed.runs[0].tasks == ()
    assert len(listed.problems) == 2


@pytest.mark.parametrize("line", ["@@file ../../.bashrc eA==", "@@file /etc/x eA==", "@@file hostfile ?", "@@file x"])
def test_files_of_a_run_have_known_names(line: str) -> None:
    with pytest.raises(HostError):
        host_output.parse_files(f"{line}\n")


@pytest.mark.parametrize("count", ["", "x", "-1", "\u00b2", "9" * 5000])
def test_a_count_that_is_none_is_unknown(count: str) -> None:
    assert host_output.parse_left(f"@@left {count}\n") is None


HOSTS = {f"h{number}": ["main"] for number in range(10_001)}


@pytest.mark.parametrize(
    ("key", "largest", "too_large"),
    [
        ("dashboard", 65_535, 65_536),
        ("min_hosts", 10_000, 10_001),
        ("outputs", ["x"] * 1000, ["x"] * 1001),
        ("outputs", ["x" * 1024], ["x" * 1025]),
        ("start", ["x", "y", "venv"] + ["a=b"] * 997, ["x", "y", "venv"] + ["a=b"] * 998),
        ("start", ["x", "y", "venv", f"{'a' * 1024}={'b' * 1024}"], ["x", "y", "venv", f"{'a' * 1024}={'b' * 1025}"]),
        ("roles", {"a": ["main"] * 100}, {"a": ["main"] * 101}),
        ("roles", dict([*HOSTS.items()][:-1]), HOSTS),
    ],
)
def test_a_record_is_as_large_as_its_bounds_and_no_larger(key: str, largest: object, too_large: object) -> None:
    run = host_output.parse_manifest(manifest(**{key: largest}), RUN)

    assert largest in (run.dashboard_port, run.min_hosts, [*run.outputs], [*run.start_args], as_lists(run.roles))
    with pytest.raises(HostError, match="is damaged"):
        host_output.parse_manifest(manifest(**{key: too_large}), RUN)


def as_lists(roles: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {host: [*names] for host, names in roles.items()}


@pytest.mark.parametrize(
    ("moment", "is_valid"),
    [
        ("2000-01-01T00:00:00Z", False),
        ("2000-01-01T00:00:01Z", True),
        ("2199-12-31T23:59:59Z", True),
        ("2200-01-01T00:00:00Z", False),
    ],
)
def test_a_time_is_one_of_two_centuries(moment: str, is_valid: bool) -> None:
    job = LISTED_BY_A.splitlines()[0]
    listed = query.combine({"a": f"{job}\n@@run {RUN} main no 0 {moment} -\n"})

    assert (listed.runs[0].started_at == datetime.fromisoformat(moment)) is is_valid
    assert (listed.problems == ()) is is_valid


def test_of_a_text_that_is_no_id_forty_characters_are_shown() -> None:
    (problem,) = query.combine({"a": f"@@job {'x' * 50} {{}}\n"}).problems

    assert problem.startswith(f"a: run '{'x' * 40}' is left out")


def test_a_mark_of_another_name_means_nothing_and_a_time_is_short() -> None:
    reader = host_output.LogReader("@@m")

    assert reader.feed("@@m other 1") is None
    assert (reader.disk_full, reader.exit_text, reader.reclaim_time) == (False, "", "")
    reader.feed(f"@@m spot {'1' * 50}")
    assert reader.reclaim_time == "1" * 40


def test_as_much_text_as_the_limit_is_joined_after_heartbeats_and_no_more() -> None:
    reader, limit = host_output.LogReader("@@m"), 1 << 20

    assert reader.feed("x" * (limit - 1) + "@@m beat") is None
    assert reader.feed("y@@m beat") is None
    assert reader.feed("z@@m beat") == "x" * (limit - 1) + "yz@@m beat"


@pytest.mark.parametrize(
    ("piece", "raw", "last_raw"),
    [
        (OutputLine("20%", b"", ends_line=False), b"", b"10%\r30%"),
        (OutputLine("", b"", ends_line=True), b"10%", b"\r30%"),
        (OutputLine("cut", b"cut", ends_line=False), b"10%cut", b"\r30%"),
        (OutputLine("cut", b"cut", ends_line=True), b"10%cut", b"\r30%"),
    ],
)
def test_bytes_before_a_heartbeat_come_once_with_the_next_bytes(piece: OutputLine, raw: bytes, last_raw: bytes) -> None:
    reader = host_output.LogReader("@@m")
    reader.feed(OutputLine("10%@@m beat", b"10%@@m beat", ends_line=True))

    first, last = reader.feed(piece), reader.feed(OutputLine("30%", b"\r30%", ends_line=True))

    assert first is not None
    assert last is not None
    assert (first, first.raw, last.raw) == (f"10%{piece}", raw, last_raw)
