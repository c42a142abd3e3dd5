"""Inputs of other people as hypothesis draws them: valid ones with parts replaced, cut or damaged."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
from typing import Any

from hypothesis import strategies as st

from localcloud.scenarios import fault_kinds
from orchestrator.config import schema
from orchestrator.ssh.user_config import MARK

RUN = "20261120-141203-k3x"
HOST = "ml-0"

NASTY = st.sampled_from(
    [
        *("", "..", "/", "/etc/passwd", "a/../..", "x/..", "~", "-rf", "\0", "\n", "\r", "\x1b[2J", "\x9b2J", "\u202e"),
        *("\udce9", "\u2028", "9" * 5000, "1e999", "NaN", "-1", "\u00b2", "\u0663", "[" * 5000, "x" * 5000, "@@exit 0"),
        *(
            "2026-11-20T14:12:03",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "${HOME}",
            "${",
            "%(x)s",
            "s3://",
            RUN,
        ),
    ]
)
TEXTS = st.one_of(NASTY, st.text(max_size=40))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
MANIFEST: dict[str, Any] = {
    "run": RUN,
    "job": "j",
    "framework": "command",
    "multi": True,
    "roles": {HOST: ["main"]},
    "outputs": ["outputs"],
    "dashboard": 0,
    "min_hosts": 0,
    "start": ["jobs/j", "j", "venv", "data/j/x=x"],
}


@st.composite
def manifests(draw: st.DrawFn) -> str:
    """Draw a job.json: a valid one with some facts replaced, or any text."""
    if draw(st.booleans()):
        return draw(TEXTS)
    changes = draw(st.dictionaries(st.sampled_from(sorted(MANIFEST)), VALUES, max_size=3))
    return json.dumps({**MANIFEST, **changes})


@st.composite
def listings(draw: st.DrawFn) -> str:
    """Draw the output of runs.sh."""
    run_ids = st.one_of(st.just(RUN), TEXTS)
    words = st.lists(st.one_of(st.sampled_from(["main", "yes", "no", "-", "0", "137", "cancelled"]), TEXTS), max_size=6)
    jobs = [f"@@job {draw(run_ids)} {draw(manifests())}" for _ in range(draw(st.integers(0, 3)))]
    tasks = [f"@@run {draw(run_ids)} {' '.join(draw(words))}" for _ in range(draw(st.integers(0, 3)))]
    return "\n".join(draw(st.permutations([*jobs, *tasks, draw(TEXTS)])))


@st.composite
def ini_files(draw: st.DrawFn, tables: Any) -> bytes:
    """Draw a file of settings: known sections and options with any values, cut or damaged somewhere."""
    lines = []
    for section, table in tables.items():
        names = [item.name for item in schema.options(table)] if table else ["LEVEL"]
        lines.append(f"[{section}]")
        for name in draw(st.lists(st.sampled_from(names), max_size=4, unique=True)):
            lines.append(f"{name} = {draw(TEXTS)}")
    data = "\n".join(lines).encode(errors="surrogatepass")
    return data[: draw(st.integers(0, len(data)))] + draw(st.binary(max_size=20)) if draw(st.booleans()) else data


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Draw a compressed tar stream: hostile members, cut or damaged somewhere."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=draw(st.sampled_from([0, 1, 2]))) as archive:
        for _ in range(draw(st.integers(0, 5))):
            data = draw(st.binary(max_size=600))
            info = tarfile.TarInfo(draw(st.one_of(st.sampled_from(["a", "a/b", "a/b/c", "./a", "b"]), TEXTS)))
            info.size, info.type = len(data), draw(st.sampled_from([b"0", b"1", b"2", b"3", b"5", b"6", b"S", b"Z"]))
            info.linkname, info.mode = draw(st.one_of(st.just("a"), TEXTS)), draw(st.integers(0, 0o7777))
            names = st.sampled_from(["mtime", "size", "path", "linkpath", "GNU.sparse.major", "GNU.sparse.map"])
            info.pax_headers = draw(st.dictionaries(names, TEXTS, max_size=2))
            # Names that the format cannot hold.
            with contextlib.suppress(ValueError, OSError, OverflowError, TypeError):
                archive.addfile(info, io.BytesIO(data))
    plain = bytearray(packed.getvalue())
    for _ in range(draw(st.integers(0, 3))):
        plain[draw(st.integers(0, len(plain) - 1))] = draw(st.integers(0, 255))
    stream = gzip.compress(bytes(plain), 1)
    return stream[: draw(st.integers(0, len(stream)))] if draw(st.booleans()) else stream


KINDS = sorted(kind if isinstance(kind, str) else kind.name for kind in fault_kinds.KINDS)


@st.composite
def scenarios(draw: st.DrawFn) -> str:
    """Draw a scenario: known kinds of faults with any values."""
    lines = ["[scenario]", f"seed = {draw(TEXTS)}"]
    for kind in draw(st.lists(st.one_of(st.sampled_from(KINDS), TEXTS), max_size=3)):
        lines.append(f"[{draw(TEXTS)}]\nfault = {kind}")
        names = st.sampled_from(["seconds", "count", "after", "host", "rate", "code", "type", "zone", "at"])
        lines += [f"{name} = {value}" for name, value in draw(st.dictionaries(names, TEXTS, max_size=3)).items()]
    return "\n".join(lines)


@st.composite
def journals(draw: st.DrawFn) -> bytes:
    """Draw a journal: valid entries with facts replaced, among damaged lines."""
    cluster = {"cluster": "ml", "owner": "me", "account": "1", "region": "us-west-2"}
    facts = {**cluster, "run": "r", "token": "t", "count": 2, "hosts": "ml-0..1", "type": "t", "zone": "z"}
    lines = []
    for number in range(draw(st.integers(0, 4))):
        changes = draw(st.dictionaries(st.sampled_from(sorted(facts)), VALUES, max_size=2))
        at = draw(st.one_of(st.just("2026-11-20T14:12:03+00:00"), VALUES))
        lines.append(json.dumps({"id": f"{number}", "intend": "launch", "at": at, "facts": {**facts, **changes}}))
        outcome = draw(st.dictionaries(st.sampled_from(["ids", "ended", "terminated", "refused"]), VALUES, max_size=2))
        lines.append(json.dumps({"id": f"{number}", "settle": "launch", "at": at, "facts": outcome}))
    data = "\n".join(lines).encode()
    return data + draw(st.binary(max_size=30)) if draw(st.booleans()) else data


_MARKS = st.sampled_from(["@@file", "@@left", "@@started", "@@missing", "@@ended", "@@exists"])
_FIELDS = st.lists(st.one_of(TEXTS, st.sampled_from(["0", "12", "-", "hostfile", "eA==", "8,"])), max_size=6)
SCRIPT_OUTPUTS = st.builds(lambda mark, fields: f"{mark} {' '.join(fields)}", _MARKS, _FIELDS)
LOGS = st.lists(st.one_of(st.binary(max_size=80), TEXTS.map(lambda text: text.encode(errors="replace"))))
OUTPUTS = st.lists(
    st.tuples(
        st.sampled_from(["outputs/metrics.json", "versions.txt", "image.txt"]),
        st.one_of(st.binary(max_size=60), VALUES.map(lambda value: json.dumps(value).encode())),
    ),
    max_size=3,
)
SSH_CONFIGS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(TEXTS, st.just('Include "/h/ssh/config"'), st.just(MARK))).map(
        lambda lines: "\n".join(lines).encode(errors="surrogatepass")
    ),
)
WORDS = (
    "-n",
    "--yes",
    "--output",
    "json",
    "text",
    "--host",
    "--follow",
    "--multi",
    "--",
    "2",
    "-1",
    "1e9",
    "nan",
    RUN,
    "k3",
)


@st.composite
def typed_words(draw: st.DrawFn, commands: tuple[str, ...]) -> list[str]:
    """Draw the words of a command line: a command with options and values, or any words."""
    first = draw(st.one_of(st.sampled_from(commands), TEXTS))
    return [first, *draw(st.lists(st.one_of(st.sampled_from(WORDS), TEXTS), max_size=4))]


@st.composite
def typed_lines(draw: st.DrawFn, verbs: tuple[str, ...]) -> str:
    """Draw a line at the prompt: a call of a verb with literals, a command as on the command line, or damaged ones."""
    name = draw(st.one_of(st.sampled_from(verbs), st.sampled_from(["launch", "Lanch", "stratus status"])))
    values = [repr(value) for value in draw(st.lists(VALUES, max_size=2))]
    names = st.sampled_from(["n", "yes", "host", "follow", "hours", "job", "output", "everywhere"])
    values += [f"{key}={draw(VALUES)!r}" for key in draw(st.lists(names, max_size=2, unique=True))]
    line = f"{name}({', '.join(values)})" if draw(st.booleans()) else f"{name} {' '.join(values)}"
    return line[: draw(st.integers(0, len(line)))] if draw(st.booleans()) else line


@st.composite
def long_lines(draw: st.DrawFn) -> str:
    """Draw a line as long as lines are passed on, of a few texts repeated."""
    piece = draw(st.sampled_from([" ", "x", "0", "\t", "-", ":", "1/2", "/stratus/.bundle.", "a ", "\x1b", "@@", "["]))
    line = draw(st.sampled_from(["", "@@step ", "@@say ", "epoch", "x"])) + piece * (64 * 1024 // len(piece))
    return line + draw(TEXTS)
