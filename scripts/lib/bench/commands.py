"""One command on many hosts: Stratus beside ansible-core, pyinfra, parallel-ssh, Fabric and OpenSSH, in one run.

    scripts/bench commands [--hosts 8] [--rounds 5] [--json FILE]

Hosts are real SSH servers of the embedded cloud. Cold: a new process that logs in to all hosts, runs `true` and ends;
it includes each tool's start, and for Stratus the question to EC2 which hosts there are. Warm: the same command again
over kept connections, in one process. The others check no host keys; Stratus does. They are installed from the package
index into .venv-bench. Prints medians of wall and client CPU seconds, and ratios to Stratus.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts/lib/bench"))

import bytes as transfers  # noqa: E402 - the path is set above; the module beside this one

PACKAGES = ("ansible-core==2.18.*", "pyinfra==3.*", "parallel-ssh==2.*", "fabric==3.*", "setuptools<81")
OWN_PACKAGES = ("boto3", "platformdirs", "rich")
"""What Stratus imports besides: it runs in the same environment, since Python starts later where packages are links."""
ROUNDS_WARM = 20
BARS = {"cold": {"fabric": 1.0}, "warm": {"parallel-ssh": 1.2}}
"""Largest acceptable ratio of Stratus to a tool: wall seconds if cold, client CPU seconds if warm."""

FABRIC = """
from fabric import Connection, ThreadingGroup
connections = [Connection(a, user=u, port=int(p), connect_timeout=30, connect_kwargs={"key_filename": k,
               "look_for_keys": False, "allow_agent": False}) for a, u, p, k in HOSTS]
group = ThreadingGroup.from_connections(connections)
def command(): group.run("true", hide=True, in_stream=False)
"""
PARALLEL_SSH = """
from pssh.clients import ParallelSSHClient
address, user, port, key = HOSTS[0]
client = ParallelSSHClient([a for a, *_ in HOSTS], user=user, port=int(port), pkey=key, pool_size=100)
def command():
    output = client.run_command("true")
    client.join(output)
    assert not any(host.exception or host.exit_code for host in output)
"""
STRATUS = """
import os
from pathlib import Path
from orchestrator.config import settings
from orchestrator.session import Session
config, home, runs = OURS
session = Session(settings.load(Path(config), dict(os.environ)), home=Path(home), runs=Path(runs))
def command():
    report = session.hosts.run_command("true")
    assert not report.failed
"""
WARM = """
import time
command()
wall, cpu = time.monotonic(), time.process_time()
for _ in range(ROUNDS): command()
print((time.monotonic() - wall) / ROUNDS, (time.process_time() - cpu) / ROUNDS)
"""


def environment() -> Path:
    """Return the folder of programs of the tools' own environment, made on the first call."""
    folder = ROOT / ".venv-bench"
    packages = " ".join((*PACKAGES, *OWN_PACKAGES))
    complete = folder / "complete"
    if not complete.is_file() or complete.read_text() != packages:
        print("installing the other tools into .venv-bench (once, about a minute)", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", *PACKAGES, *OWN_PACKAGES], check=True)
        complete.write_text(packages)
    return folder / "bin"


def own_python(programs: Path) -> list[str]:
    """Return the words that start Python for Stratus; only it needs the checkout's folder in its path."""
    return ["env", f"PYTHONPATH={ROOT}", str(programs / "python")]


def cold_commands(programs: Path, scratch: Path, logins: Sequence[Sequence[str]], ssh: str) -> dict[str, list[str]]:
    """Return the words of each tool's command for all hosts."""
    count = str(len(logins))
    ansible, pyinfra, fabric, pssh = (
        scratch / name for name in ("hosts.ini", "hosts.py", "with_fabric.py", "with_pssh.py")
    )
    own = "ansible_host={} ansible_user={} ansible_port={} ansible_ssh_private_key_file={}"
    ansible.write_text("".join(f"h{at} {own.format(*login)}\n" for at, login in enumerate(logins)))
    # It would keep the keys with the user's own, and refuse the next cloud's hosts at the same addresses.
    unchecked = {"ssh_strict_host_key_checking": "no", "ssh_known_hosts_file": str(scratch / "known_hosts")}
    data = [
        (
            f"h{at}",
            {"ssh_hostname": a, "ssh_user": u, "ssh_port": int(p), "ssh_key": k, **unchecked},
        )
        for at, (a, u, p, k) in enumerate(logins)
    ]
    pyinfra.write_text(f"hosts = {data!r}\n")
    fabric.write_text(f"HOSTS = {list(logins)!r}\n{FABRIC}\ncommand()\n")
    pssh.write_text(f"HOSTS = {list(logins)!r}\n{PARALLEL_SSH}\ncommand()\n")
    return {
        "stratus": [
            *own_python(programs),
            "-m",
            "orchestrator",
            "--config",
            str(scratch / "config.ini"),
            "exec",
            "true",
        ],
        "fabric": [str(programs / "python"), str(fabric)],
        "parallel-ssh": [str(programs / "python"), str(pssh)],
        "pyinfra": [str(programs / "pyinfra"), "-y", str(pyinfra), "exec", "--", "true"],
        "ansible": [str(programs / "ansible"), "-i", str(ansible), "-f", count, "-m", "raw", "-a", "true", "all"],
        "ssh": ["sh", "-c", ssh],
    }


def warm_programs(scratch: Path, logins: Sequence[Sequence[str]], programs: Path) -> dict[str, list[str]]:
    """Return the words of programs that repeat the command and print wall and CPU seconds of one."""
    ours = tuple(str(scratch / name) for name in ("config.ini", "home", "runs"))
    bodies = {
        "stratus": (own_python(programs), f"OURS = {ours!r}\n{STRATUS}"),
        "fabric": ([str(programs / "python")], f"HOSTS = {list(logins)!r}\n{FABRIC}"),
        "parallel-ssh": ([str(programs / "python")], f"HOSTS = {list(logins)!r}\n{PARALLEL_SSH}"),
    }
    return {name: [*python, "-c", f"ROUNDS = {ROUNDS_WARM}\n{body}{WARM}"] for name, (python, body) in bodies.items()}


def run(arguments: Sequence[str], scratch: Path) -> tuple[str, tuple[float, float]]:
    """Run a program; return its output, and its wall and CPU seconds."""
    usage = scratch / "usage"
    timed = [sys.executable, "-c", TIMER, str(usage), *arguments]
    finished = subprocess.run(timed, capture_output=True, text=True, timeout=600, cwd=scratch, check=False)
    if finished.returncode:
        raise SystemExit(f"failed: {' '.join(arguments)[:300]}\n{finished.stdout[-1000:]}{finished.stderr[-2000:]}")
    wall_s, cpu_s = map(float, usage.read_text().split())
    return finished.stdout, (wall_s, cpu_s)


TIMER = """
import os, resource, subprocess, sys, time
started = time.monotonic()
status = subprocess.call(sys.argv[2:])
wall, usage = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(f"{wall} {usage.ru_utime + usage.ru_stime}")
sys.exit(status)
"""


def medians(rounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the medians of wall and CPU seconds."""
    return statistics.median(wall for wall, _ in rounds), statistics.median(cpu for _, cpu in rounds)


def report(kind: str, hosts: int, seconds: dict[str, list[tuple[float, float]]]) -> list[dict[str, object]]:
    """Print the medians of one kind and the ratios of Stratus to each tool; return them."""
    wall_s, cpu_s = medians(seconds["stratus"])
    rows: list[dict[str, object]] = []
    for tool, rounds in seconds.items():
        wall, cpu = medians(rounds)
        bar, ratio = BARS[kind].get(tool), wall_s / wall if kind == "cold" else cpu_s / cpu
        met = bar is None or ratio <= bar
        rows.append({"kind": kind, "tool": tool, "wall_s": wall, "cpu_s": cpu, "ratio": ratio, "bar": bar, "met": met})
        figures = f"{wall * 1000:8.1f} ms   {cpu * 1000:8.1f} ms CPU   stratus is {ratio:5.2f} of it"
        print(f"{kind}, {hosts} hosts   {tool:14} {figures}   {'' if met else 'ABOVE ITS BAR'}", flush=True)
    return rows


def main() -> int:
    """Measure all tools; 1 if one ratio is above its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    programs = environment()
    with tempfile.TemporaryDirectory() as name, transfers.hosts_of_a_cloud(options.hosts, Path(name)) as cloud:
        _, hosts, ssh_config = cloud
        scratch = Path(name)
        ansible = {"ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_PIPELINING": "True"}
        os.environ.update({"STRATUS_HOME": str(scratch / "home"), **ansible})
        # The others' packages were compiled when pip installed them.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        names = " ".join(host.name for host in hosts)
        ssh = f"printf '%s\\n' {names} | xargs -P {len(hosts)} -I@ ssh -F {shlex.quote(str(ssh_config))} @ true"
        logins = [(host.address, host.user, str(host.port), str(host.key_file)) for host in hosts]
        kinds = {
            "cold": cold_commands(programs, scratch, logins, ssh),
            "warm": warm_programs(scratch, logins, programs),
        }
        rows = []
        for kind, tools in kinds.items():
            seconds: dict[str, list[tuple[float, float]]] = {tool: [] for tool in tools}
            # In turns, so that a load of the computer falls on all of them.
            for _ in range(options.rounds):
                for tool, arguments in tools.items():
                    output, usage = run(arguments, scratch)
                    wall, cpu = map(float, output.split()[-2:]) if kind == "warm" else usage
                    seconds[tool].append((wall, cpu))
            rows += report(kind, options.hosts, seconds)
    if options.json:
        options.json.write_text(json.dumps({"hosts": options.hosts, "rounds": options.rounds, "rows": rows}, indent=2))
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
