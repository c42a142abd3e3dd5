"""Output of a run's remote scripts, parsed into records: the only place where jobs read what a host sends.

A host's output is untrusted input: a job may rewrite every file of its run, and a host may send anything. A record that
leaves this module has an id of the id's own form, outputs inside the run's working directory, names without control
characters, and numbers in range. What does not fit is left out, with a line on it, and the rest goes on.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from orchestrator.core.errors import HostError
from orchestrator.core.output_line import OutputLine, as_output_line
from orchestrator.hosts import disk_room
from orchestrator.hosts.commands import marked_lines
from orchestrator.jobs.runs import RUN_ID, Listing, Run, TaskExit, TaskState

MAX_PARTIAL_BYTES = 1 << 20
"""Text without a line end that heartbeats may cut into pieces; more is passed on as it is."""

MAX_HOSTS = 10_000
MAX_OUTPUTS = 1_000
MAX_ROLES = 100

_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_FRAMEWORK = re.compile(r"[a-z][a-z0-9_-]{0,63}")
# Letters of any alphabet: earlier versions named jobs like their folders.
_JOB_NAME = re.compile(r"[\w.-]{1,255}")
_EXIT_STATUS = re.compile(r"-?[0-9]{1,4}")
_EXIT_WORDS = ("cancelled", "timeout", "lost", "unknown")
_COUNT = re.compile(r"[0-9]{1,9}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FIRST_TIME, _LAST_TIME = (datetime(year, 1, 1, tzinfo=UTC) for year in (2000, 2200))

SHARED_FILES = (
    *("job.json", "hostfile", "bin/command.sh", "task/mesh.cmd", "task/mesh.env"),
    *(f"mesh/{name}" for name in ("ca.pem", "cert.pem", "key.pem", "port", "members")),
)
"""The files that ``give.sh`` sends; a host that joins a run gets no others."""


class DamagedError(ValueError):
    """A part of a host's output that is not what the scripts write."""


@dataclass(frozen=True)
class StartOutput:
    """Output of ``start.sh``.

    :param missing: what has to be installed first; empty when nothing is missing.
    :param exists: True if the run was staged by an earlier attempt.
    :param started: number of tasks started.
    :param busy: ids of other runs that have a task there.
    """

    missing: str
    exists: bool
    started: int
    busy: tuple[str, ...] = ()


@dataclass(frozen=True)
class KillOutput:
    """Output of ``killall.sh``.

    :param run_ids: runs that had processes or containers left.
    :param left: number of processes and containers that could not be killed; None when the script did not finish.
    :param stuck: one line for each of them.
    """

    run_ids: tuple[str, ...]
    left: int | None
    stuck: tuple[str, ...]


# -- runs


def parse_listings(outputs: Mapping[str, str], latest: datetime) -> tuple[dict[str, list[Listing]], list[str]]:
    """Return run id -> the run as each host lists it, and one line for each part that was left out.

    :param outputs: name of a host -> output of ``runs.sh`` there.
    :param latest: later times are damaged.
    """
    listings: dict[str, list[Listing]] = {}
    # Each text is parsed once: all hosts of a large run have the same job.json.
    manifests: dict[str, Run] = {}
    # A dictionary: a file that is damaged on every host in the same way is one line per host, not one per task.
    problems: dict[str, None] = {}
    for host, output in outputs.items():
        own, damaged = _parse_manifests(host, output, manifests)
        tasks, damaged_tasks = _parse_tasks(host, output, latest)
        problems |= dict.fromkeys([*damaged, *damaged_tasks])
        for run_id in dict.fromkeys((*own, *tasks)):
            listings.setdefault(run_id, []).append(Listing(host, own.get(run_id), tuple(tasks.get(run_id, ()))))
    return listings, list(problems)


def _parse_manifests(host: str, output: str, parsed: dict[str, Run]) -> tuple[dict[str, Run], list[str]]:
    """Return a host's manifests by run id; texts that were parsed before are taken from, and added to, `parsed`."""
    manifests: dict[str, Run] = {}
    problems = []
    for line in marked_lines(output, "@@job"):
        run_id, _, manifest = line.partition(" ")
        try:
            if line not in parsed:
                parsed[line] = _parse_manifest(manifest, run_id)
            manifests.setdefault(run_id, parsed[line])
        except DamagedError as error:
            problems.append(f"{host}: run {_shown(run_id)} is left out: job.json {error}")
    return manifests, problems


def _parse_tasks(host: str, output: str, latest: datetime) -> tuple[dict[str, list[TaskState]], list[str]]:
    """Return the states of a host's tasks by run id."""
    tasks: dict[str, list[TaskState]] = {}
    problems = []
    for line in marked_lines(output, "@@run"):
        run_id, _, fields = line.partition(" ")
        task, problem = _parse_task(host, fields.split(), latest)
        tasks.setdefault(run_id, []).extend(task)
        if problem:
            problems.append(f"{host}: run {_shown(run_id)}: {problem}")
    return tasks, problems


def parse_manifest(manifest: str, run_id: str) -> Run:
    """Return the run that a ``job.json`` describes, without the state of its tasks.

    :param run_id: id that it must have.
    :raises HostError: it is damaged.
    """
    try:
        return _parse_manifest(manifest, run_id)
    except DamagedError as error:
        raise HostError(f"run {_shown(run_id)}: job.json {error}") from error


def manifest_facts(manifest: bytes) -> dict[str, Any]:
    """Return the content of a ``job.json``.

    :raises HostError: it is damaged.
    """
    try:
        return _json_object(manifest.decode(errors="replace"))
    except DamagedError as error:
        raise HostError(f"job.json {error}") from error


def _parse_manifest(manifest: str, run_id: str) -> Run:
    facts = _json_object(manifest)
    if not RUN_ID.fullmatch(run_id) or facts.get("run") != run_id:
        raise DamagedError("does not have the id of its folder")
    return Run(
        run_id=run_id,
        job=_text(facts, "job", _JOB_NAME),
        framework=_text(facts, "framework", _FRAMEWORK),
        multi=facts.get("multi") is True,
        roles=_roles(facts.get("roles")),
        outputs=_inside(_texts(facts, "outputs", MAX_OUTPUTS)),
        dashboard_port=_integer(facts, "dashboard", 65_535),
        # Runs that were started by an older version have neither.
        min_hosts=_integer(facts, "min_hosts", MAX_HOSTS),
        start_args=_start_args(_texts(facts, "start", MAX_OUTPUTS)),
    )


def _json_object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    # Deeply nested brackets exhaust the parser's stack.
    except (ValueError, RecursionError) as error:
        raise DamagedError("is damaged: no JSON") from error
    if not isinstance(document, dict):
        raise DamagedError("is damaged: no JSON object")
    return document


def _text(facts: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise DamagedError(f"is damaged: {key}")
    return value


def _texts(facts: Mapping[str, Any], key: str, limit: int) -> tuple[str, ...]:
    values = facts.get(key, [])
    if not isinstance(values, list) or len(values) > limit or not all(isinstance(value, str) for value in values):
        raise DamagedError(f"is damaged: {key}")
    return tuple(values)


def _integer(facts: Mapping[str, Any], key: str, highest: int) -> int:
    value = facts.get(key, 0)
    # bool is an int in Python.
    if type(value) is not int or not 0 <= value <= highest:
        raise DamagedError(f"is damaged: {key}")
    return value


def _roles(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_HOSTS:
        raise DamagedError("is damaged: roles")
    # Before anything else: an error names the host.
    if not all(_HOST_NAME.fullmatch(host) for host in value):
        raise DamagedError("is damaged: roles")
    roles = {host: _texts(value, host, MAX_ROLES) for host in value}
    if not all(_ROLE.fullmatch(role) for names in roles.values() for role in names):
        raise DamagedError("is damaged: roles")
    return roles


def _inside(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return relative paths, if all of them stay inside their folder."""
    for path in paths:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or _CONTROL.search(path) or len(path) > 1024:
            raise DamagedError("is damaged: a path outside the run")
    return paths


def _start_args(args: tuple[str, ...]) -> tuple[str, ...]:
    """Return arguments of ``start.sh``: code, name, runtime, links; paths below ``~/stratus`` and the run."""
    _inside(args[:3])
    for link in args[3:]:
        source, _, destination = link.partition("=")
        _inside((source, destination))
    return args


def _parse_task(host: str, fields: Sequence[str], latest: datetime) -> tuple[list[TaskState], str]:
    """Return the state of a task, and what of it is damaged."""
    if len(fields) < 2 or not _ROLE.fullmatch(fields[0]):
        return [], "a task is left out: its name is damaged"
    role, is_alive = fields[0], fields[1] == "yes"
    exit_text, started, ended = fields[2:] if len(fields) == 5 else ("?", "?", "?")
    damaged = []
    if exit_text not in ("-", *_EXIT_WORDS) and not _EXIT_STATUS.fullmatch(exit_text):
        damaged.append("exit status")
        exit_text = "-" if is_alive else "lost"
    times = [_parse_time(text, latest) for text in (started, ended)]
    damaged += [name for name, moment in zip(("start", "end"), times, strict=True) if isinstance(moment, DamagedError)]
    started_at, ended_at = (None if isinstance(moment, DamagedError) else moment for moment in times)
    task = TaskState(
        host, role, is_alive, "" if exit_text == "-" else exit_text, started_at, ended_at, "start" in damaged
    )
    return [task], f"{role}: its file of {', '.join(damaged)} is damaged" if damaged else ""


def _parse_time(text: str, latest: datetime) -> datetime | DamagedError | None:
    if text == "-":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        return DamagedError(str(error))
    # One without a time zone cannot be compared with others, and one far away cannot be shown in local time.
    if moment.tzinfo is None or not _FIRST_TIME < moment < latest:
        return DamagedError(text)
    return moment


def _shown(text: str) -> str:
    """Return a text of a host for a message: short, its special characters escaped."""
    return text if RUN_ID.fullmatch(text) else ascii(text[:40])


# -- start, cancel, kill, join


def parse_start(output: str) -> StartOutput:
    """Return what ``start.sh`` did."""
    missing = marked_lines(output, "@@missing")
    busy = tuple(dict.fromkeys(run_id for run_id in marked_lines(output, "@@busy") if RUN_ID.fullmatch(run_id)))
    return StartOutput(
        missing[0] if missing else "", "@@exists" in output, len(marked_lines(output, "@@started")), busy
    )


def parse_left(output: str) -> int | None:
    """Return the number of processes that ``cancel.sh`` could not end; None when the script did not finish."""
    counts = marked_lines(output, "@@left")
    return int(counts[-1]) if counts and _COUNT.fullmatch(counts[-1]) else None


def parse_kill(output: str) -> KillOutput:
    """Return what ``killall.sh`` did."""
    stuck = [line for line in output.splitlines() if not line.startswith("@@")]
    ended = [run_id for run_id in marked_lines(output, "@@ended") if RUN_ID.fullmatch(run_id)]
    return KillOutput(tuple(ended), parse_left(output), tuple(stuck))


def parse_files(output: str) -> dict[str, bytes]:
    """Return the files that ``give.sh`` sends, by name below the run's folder.

    :raises HostError: a name or a content is none that it sends.
    """
    files = {}
    for line in marked_lines(output, "@@file"):
        name, _, content = line.partition(" ")
        # They are written to other hosts: a name that leads outside the run would be written there.
        if name not in SHARED_FILES:
            raise HostError(f"{name[:40]!a} is not a file of a run")
        try:
            files[name] = base64.b64decode(content, validate=True)
        except binascii.Error as error:
            raise HostError(f"{name} arrived damaged") from error
    return files


# -- logs


@dataclass
class LogReader:
    """Separates a task's log from the lines that ``follow.sh`` adds: heartbeats, notices, the exit.

    Those begin with a mark that is new for every connection: whatever a job prints, it is the job's.

    A heartbeat is written beside the log: after output without a line end, such as a progress bar, it stands on the
    job's own line, and the rest of that line comes as a line of its own. The pieces are joined again.

    :param mark: begin of the lines of ``follow.sh``.
    :param exit_text: a task's exit status, or why there is none; empty before its end.
    :param reclaim_time: time at which AWS reclaims the spot instance; empty without such a notice.
    :param disk_full: True if the host's disk had no room left at the end of the task.
    :param times: start of the run on the host, and end of the task, as text.
    :param on_disk: called with every report of a disk that is nearly full.
    """

    mark: str = field(default_factory=lambda: f"@@{secrets.token_hex(8)}")
    exit_text: str = ""
    reclaim_time: str = ""
    disk_full: bool = False
    times: str = ""
    on_disk: Callable[[disk_room.DiskRoom], None] = disk_room.ignore
    _partial: str = ""
    _partial_raw: bytes = b""

    def feed(self, line: str) -> OutputLine | None:
        """Return a whole line of the log; None for any other, and while it is not complete."""
        beat, piece = f"{self.mark} beat", as_output_line(line)
        before, heartbeat, report = piece.partition(beat)
        if heartbeat and (not report or report.startswith(" disk ")) and len(self._partial) < MAX_PARTIAL_BYTES:
            self._partial += before
            self._partial_raw += piece.raw.partition(beat.encode())[0]
            if room := disk_room.parse(report.removeprefix(" disk ")):
                self.on_disk(room)
            return None
        whole, self._partial = self._partial + piece, ""
        if not whole.startswith(f"{self.mark} "):
            return OutputLine(whole, self._raw_with_partial(piece), ends_line=piece.ends_line)
        self._read_mark(*whole.removeprefix(f"{self.mark} ").partition(" ")[::2])
        return None

    def _raw_with_partial(self, piece: OutputLine) -> bytes:
        # A state of a progress bar has no bytes: the line's come with its line feed.
        if not piece.raw and not piece.ends_line:
            return b""
        raw, self._partial_raw = self._partial_raw + piece.raw, b""
        return raw

    def _read_mark(self, name: str, value: str) -> None:
        if name == "exit":
            self.exit_text = value.strip() or "lost"
        elif name == "spot":
            self.reclaim_time = self.reclaim_time or _CONTROL.sub("", value)[:40]
        elif name == "times":
            self.times = value
        elif name == "full":
            self.disk_full = True


def parse_exit(host: str, reader: LogReader, tail: Sequence[str], latest: datetime = _LAST_TIME) -> TaskExit:
    """Return a main task's exit.

    :param reader: has read its log to the end.
    :param tail: last lines of its log.
    :param latest: later times are damaged, and count as unknown.
    """
    # Trailing empty lines would push the error message out of the few lines that are shown.
    lines = list(tail)
    while lines and not lines[-1].strip():
        lines.pop()
    moments = (_parse_time(text, latest) for text in [*reader.times.split(), *"--"][:2])
    started_at, ended_at = (moment if isinstance(moment, datetime) else None for moment in moments)
    is_status = bool(_EXIT_STATUS.fullmatch(reader.exit_text))
    reason = reader.exit_text if reader.exit_text in _EXIT_WORDS else "exit" if is_status else "lost"
    status = int(reader.exit_text) if is_status else None
    return TaskExit(host, status, reason, tuple(lines), reader.reclaim_time, reader.disk_full, started_at, ended_at)
