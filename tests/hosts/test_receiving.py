"""Files of a host received piece by piece: real SSH servers, cut connections, killed processes, and hosts that lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import HostError
from orchestrator.core.events import ignore_event
from orchestrator.core.host import Host
from orchestrator.hosts.transfer import RESERVED_BYTES, HostTransfer, Transfers
from orchestrator.ssh import SshClient
from tests.support.localcloud.clients import wait_until
from tests.support.ssh.ssh_lab import Lab
from tests.support.tcp_forwarder import forwarding

MIB = 1 << 20

# Runs the program that is sent with a change; the program's text is the second argument, as for python3.
CHANGED = """#!{python}
import sys
code = compile(sys.argv[2], "offer", "exec")
sys.argv = sys.argv[2:]
space = {{"__name__": "offer"}}
exec(code, space)
{change}
space["main"](sys.argv[1])
"""

# Before the fourth piece.
STOP = """
import time
put, pieces = space["put"], []
def stop(kind, content=b""):
    pieces.append(kind == b"P")
    if sum(pieces) == 4:
        sys.stdout.buffer.flush()
        time.sleep(600)
    put(kind, content)
space["put"] = stop
"""

LIAR = """#!{python}
import hashlib, json, struct, sys, zlib
def put(kind, content=b""):
    sys.stdout.buffer.write(struct.pack(">cI", kind, len(content)) + content)
def file(name, size):
    put(b"F", json.dumps([name, size, 0, False]).encode())
def ask():
    put(b"Q")
    sys.stdout.buffer.flush()
    sys.stdin.buffer.readline()
def end(*pieces):
    digests = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    put(b"E", json.dumps(["", hashlib.sha256(digests).hexdigest()]).encode())
sys.stdout.write("hello\\n@@offer\\n")
sys.stdout.flush()
put(b"T", b"1")
{lies}
put(b"X")
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("pieces"), hosts=4, first=150)
    yield lab
    lab.stop()


def receive(host: Host, remote: str, folder: Path) -> HostTransfer:
    """Receive in a process of one connection."""
    with SshClient(REAL_CLOCK) as ssh:
        return Transfers(ssh, ignore_event).receive(host, remote, folder)


def replace_python(home: Path, text: str, **values: str) -> Path:
    """Put a program in the place of the host's Python."""
    (home / "bin").mkdir(exist_ok=True)
    path = home / "bin/python3"
    path.write_text(text.format(python=sys.executable, **values))
    path.chmod(0o755)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_folder_comes_with_its_times_and_links_and_a_second_call_brings_what_differs(
    lab: Lab, tmp_path: Path
) -> None:
    top = lab.homes[0] / "work"
    (top / "sub dir/empty").mkdir(parents=True)
    big = os.urandom(2 * MIB) + bytes(MIB) + b"end"
    (top / "sub dir/big").write_bytes(big)
    (top / os.fsdecode(b"it's\n\xff")).write_bytes(b"")
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o4777)
    (top / "link").symlink_to("sub dir/big")
    (top / "out").symlink_to("/etc/passwd")
    os.mkfifo(top / "pipe")
    os.utime(top / "run", (1_700_000_000, 1_700_000_000))

    first = receive(lab.host(), "work", tmp_path)
    after_first = content(tmp_path)
    facts = (tmp_path / "run").stat()
    (top / "sub dir/big").write_bytes(b"other" + big[5:] + b"more")
    second = receive(lab.host(), str(top), tmp_path)
    third = receive(lab.host(), str(top), tmp_path)

    names = {"sub dir/big": big, os.fsdecode(b"it's\n\xff"): b"", "run": b"#!/bin/sh\n", "link": big}
    assert after_first == names
    assert (tmp_path / "sub dir/empty").is_dir()
    assert (facts.st_mode & 0o7777, facts.st_mtime) == (0o755, 1_700_000_000)
    assert sorted(first.left_out) == ["'out: a link to /etc/passwd'", "'pipe: neither a file nor a folder'"]
    assert (first.here_bytes, first.total_bytes) == (0, len(big) + 10)
    assert content(tmp_path)["sub dir/big"] == b"other" + big[5:] + b"more"
    # All but the first piece, and the last one, which is longer.
    assert second.total_bytes - second.here_bytes == MIB + 7
    assert third.here_bytes == third.total_bytes == len(big) + 14


@pytest.mark.slow
def test_a_file_whose_transfer_was_cut_is_continued(lab: Lab, tmp_path: Path) -> None:
    data = os.urandom(8 * MIB)
    (lab.homes[0] / "model.bin").write_bytes(data)
    host = lab.host()
    with forwarding(f"http://{host.address}:{host.port}", cut_after=4 * MIB) as wire:
        near = urlsplit(wire.url)
        distant = replace(host, address=near.hostname or "", port=near.port or 0)
        with pytest.raises(HostError):
            receive(distant, "model.bin", tmp_path)
        before, named = wire.passed, content(tmp_path)
        report = receive(distant, "model.bin", tmp_path)
        sent = wire.passed - before

    assert "model.bin" not in named
    assert content(tmp_path) == {"model.bin": data}
    # How much of it arrived before the cut, nothing decides.
    assert sent < len(data) - report.here_bytes + MIB // 2


@pytest.mark.slow
def test_room_on_this_disk_is_left_free_and_a_later_call_brings_the_rest(lab: Lab, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB)
    (lab.homes[0] / "large").mkdir()
    (lab.homes[0] / "large/model.bin").write_bytes(data)
    with SshClient(REAL_CLOCK) as ssh:
        full = Transfers(ssh, ignore_event, lambda folder: RESERVED_BYTES + 2 * MIB)
        with pytest.raises(HostError, match="the disk of this computer is full: not everything was received") as caught:
            full.receive(lab.host(), "large", tmp_path)
    before = content(tmp_path)
    receive(lab.host(), "large", tmp_path)

    assert "258 MiB were free here, and 256 MiB stay free" in str(caught.value.fix)
    assert sum(map(len, before.values())) <= 2 * MIB
    assert content(tmp_path) == {"model.bin": data}


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_what_it_received(lab: Lab, tmp_path: Path) -> None:
    data = os.urandom(5 * MIB)
    (lab.homes[1] / "k.bin").write_bytes(data)
    program = replace_python(lab.homes[1], CHANGED, change=STOP)
    host = lab.host(1)
    code = (
        "import sys; from pathlib import Path; from tests.hosts import test_receiving as t; "
        "from orchestrator.core.host import Host; import json; facts = json.loads(sys.argv[1]); "
        "facts['key_file'] = Path(facts['key_file']); t.receive(Host(**facts), 'k.bin', Path(sys.argv[2]))"
    )
    facts = json.dumps({**vars(host), "key_file": str(host.key_file)})
    with subprocess.Popen([sys.executable, "-c", code, facts, str(tmp_path)]) as process:
        wait_until(lambda: sum(path.stat().st_size for path in tmp_path.glob(".stratus-*.part")) >= 3 * MIB)
        process.kill()
    program.unlink()

    report = receive(host, "k.bin", tmp_path)

    assert report.here_bytes == 3 * MIB
    assert content(tmp_path) == {"k.bin": data}


def test_a_file_that_changes_meanwhile_is_named(lab: Lab, tmp_path: Path) -> None:
    folder = lab.homes[2] / "logs"
    folder.mkdir()
    (folder / "a.log").write_bytes(b"first\n")
    (folder / "b.log").write_bytes(b"x" * (MIB + 9))
    change = (
        "send = space['send']\n"
        "def later(batch):\n"
        f"    open({str(folder / 'a.log')!r}, 'ab').write(b'second')\n"
        f"    open({str(folder / 'b.log')!r}, 'wb').write(b'short')\n"
        "    send(batch)\n"
        "space['send'] = later"
    )
    program = replace_python(lab.homes[2], CHANGED, change=change)
    report = receive(lab.host(2), "logs", tmp_path)
    program.unlink()

    assert content(tmp_path) == {"a.log": b"first\n", "b.log": b"short"}
    assert report.left_out == ("'a.log: changed while it was received'", "'b.log: changed while it was received'")


@pytest.mark.parametrize(
    ("lies", "reason"),
    [
        ('file("../x", 3); ask(); put(b"P", b"bad"); end(b"bad")', "it points outside"),
        ('file("/tmp/x", 3); ask(); put(b"P", b"bad"); end(b"bad")', "it points outside"),
        ('file(".", 3); ask(); put(b"P", b"bad"); end(b"bad")', "no name"),
        ('put(b"D", b\'["../x"]\')', "it points outside"),
        ('file("x", 3); ask(); put(b"P", b"longer"); end(b"longer")', "a piece of another size"),
        ('file("x", 3); ask(); put(b"P", b"bad"); put(b"P", b"bad"); end(b"bad", b"bad")', "a piece of another size"),
        ('file("x", 3); ask(); put(b"Z", zlib.compress(bytes(1 << 26))); end(b"bad")', "a piece of another size"),
        ('file("x", 3); ask(); put(b"Z", b"no zlib"); end(b"bad")', "damaged"),
        ('file("x", 3); ask(); put(b"=", bytes(64)); end(b"bad")', "a piece that is not here is not the same"),
        ('file("x", 3); ask(); put(b"P", b"bad"); end(b"another")', "'x': the checksum is another one"),
        ('file("x", 9); ask(); put(b"P", b"bad"); end(b"bad")', "'x': the checksum is another one"),
        ('file("x", -1)', "a size that no file has"),
        ('file("x", 10 ** 30)', "a size that no file has"),
        ('put(b"F", b"[1]")', "damaged"),
        ('put(b"F", b"[" * 60000)', "damaged"),
        ('put(b"F", b"\\"" * 70000)', "no frame"),
        ('[file("x", 3) for _ in range(600)]', "more files than it may send at once"),
        ('put(b"P", b"bad")', "out of order"),
        ("sys.exit()", "it ended early"),
        ('file("sub/deep/x", 3); ask(); put(b"P", b"bad"); end(b"bad")', "a local link leads outside"),
    ],
)
def test_a_host_that_lies_is_refused_in_one_line(lab: Lab, tmp_path: Path, lies: str, reason: str) -> None:
    replace_python(lab.homes[3], LIAR, lies=lies)
    folder, outside = tmp_path / "in", tmp_path / "outside"
    for path in (folder, outside):
        path.mkdir()
    (folder / "sub").symlink_to(outside)
    with pytest.raises(HostError) as caught:
        receive(lab.host(3), "work", folder)

    assert reason in str(caught.value.lines()[0])
    assert caught.value.where == "ml-3"
    assert content(outside) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "outside"}
    assert not (folder / "x").exists()


def test_links_of_a_host_that_lies_lead_nowhere(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    lies = (
        'put(b"L", json.dumps(["a", "../secret"]).encode()); put(b"L", json.dumps(["b", "/etc/passwd"]).encode()); '
        'put(b"L", json.dumps(["d", ".."]).encode()); file("d/x", 2); ask(); put(b"P", b"ok"); end(b"ok")'
    )
    replace_python(lab.homes[3], LIAR, lies=lies)
    report = receive(lab.host(3), "work", tmp_path / "in")

    assert content(tmp_path) == {"secret": b"secret", "in/d/x": b"ok"}
    assert len(report.left_out) == 3


def test_a_host_without_python_or_the_file_is_one_line(lab: Lab, tmp_path: Path) -> None:
    replace_python(lab.homes[3], "#!/bin/sh\necho 'sh: 1: python3: not found' >&2; exit 127\n")
    with pytest.raises(HostError, match=r"^ml-3: could not receive work: sh: 1: python3: not found"):
        receive(lab.host(3), "work", tmp_path)
    with pytest.raises(HostError, match=r"^ml-0: nothing at no/such: no such folder"):
        receive(lab.host(0), "no/such", tmp_path)
