"""Upload of folders to hosts: Stratus beside tar over ssh and rsync, in one run on the same hosts.

    scripts/bench bytes [--hosts 8] [--rounds 5] [--mib 200] [--files 1000] [--json FILE]
    scripts/bench bytes --tree [--hosts 8] [--mib 200] [--link 20] [--json FILE]

Hosts are real SSH servers of the embedded cloud. Every scenario has new content in every round. Stratus keeps its
connections, as in a shell; tar and rsync log in each time, to all hosts at once. Prints medians of wall seconds, and
of CPU seconds of the client and of all hosts, and their ratios to the tool with the bar; exits 1 if one is above that.
Wall time depends on how many cores the hosts share; CPU time does not. rsync is left out where it is not installed.
With --tree, uploads to hosts whose bandwidth is limited, which pass them on to each other: see byte_tree.py.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import byte_tree  # noqa: E402 - the path is set above

from orchestrator.core.host import Host  # noqa: E402 - the path is set above
from orchestrator.hosts import parallel  # noqa: E402
from orchestrator.install import steps  # noqa: E402
from orchestrator.install.installer import Installer  # noqa: E402
from orchestrator.install.upload import scan  # noqa: E402
from orchestrator.session import Session  # noqa: E402

CONFIG = """
[cluster]
name = bytes
[aws]
region = us-west-2
endpoint_url = ${AWS_ENDPOINT_URL}
ssh_from = 127.0.0.1/32
[ssh]
port = ${REHEARSAL_SSH_PORT}
"""
TIMEOUT_S = 900
BARS = {"tar": (1.0, 1.2), "rsync": (1.2, None)}
"""Largest acceptable ratio of wall and of client CPU seconds, by the tool that a scenario is compared with."""

Seconds = tuple[float, float, float]
"""Wall seconds, and CPU seconds of the client and of all hosts."""


@dataclass(frozen=True)
class Scenario:
    """One transfer.

    :param rival: tool with the bar.
    :param prepare: writes the folder as it is before the measured transfer, which is sent unmeasured; or None.
    :param change: brings the folder to the state that is sent.
    """

    name: str
    rival: str
    change: Callable[[Path], None]
    prepare: Callable[[Path], None] | None = None


def small_files(folder: Path, count: int) -> None:
    """Write files of 1 to 8 KiB: half random, half text."""
    for number in range(count):
        path = folder / f"package{number % 20}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = 1024 + number * 7919 % 7168
        path.write_bytes(os.urandom(size // 2) + f"value_{number} = {number}\n".encode() * (size // 40))


def random_file(folder: Path, mib: int) -> None:
    """Write a file that no compression makes smaller, and a small script."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "weights.bin").open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    one_line(folder)


def text_file(folder: Path, mib: int) -> None:
    """Write a table of numbers as text, which compresses to about a third."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table.csv").open("wb") as file:
        for number in range(mib):
            noise = os.urandom(1 << 17)
            rows = b"".join(b"%d,%d,0.%d\n" % (number, at, int.from_bytes(noise[at : at + 3])) for at in range(1 << 16))
            file.write(rows[: 1 << 20].ljust(1 << 20, b"\n"))
    one_line(folder)


def one_line(folder: Path) -> None:
    """Write a small script with another line."""
    (folder / "run.py").write_text(f"print({time.time_ns()})\n")


class Ours:
    """Upload by Stratus: the step that every run begins with."""

    def __init__(self, session: Session, hosts: Sequence[Host], logs: Path) -> None:
        self.session, self.hosts, self.logs = session, hosts, logs

    def send(self, folder: Path) -> None:
        """Upload a folder to all hosts."""
        upload = scan("bench.code", folder, "jobs/bench", hashes_folder=self.logs.with_name("hashes"))
        plan = steps.InstallPlan(
            (steps.Step("code", "parcel.sh", (upload.name, upload.digest, upload.remote_path), upload),)
        )
        installer = Installer(self.session.context.ssh, plan, self.logs, host_count=len(self.hosts))
        outcomes = parallel.for_each(self.hosts, installer, clock=self.session.context.clock)
        outcomes.raise_if_failed("upload")


class Shell:
    """A shell command for each host, all at once."""

    def __init__(self, command: Callable[[str, str], str], hosts: Sequence[Host]) -> None:
        self.command, self.hosts = command, hosts

    def send(self, folder: Path) -> None:
        """Run the command for every host, and wait for all."""
        processes = [
            subprocess.Popen(["bash", "-c", self.command(shlex.quote(str(folder)), host.name)]) for host in self.hosts
        ]
        statuses = [process.wait(TIMEOUT_S) for process in processes]
        if any(statuses):
            raise SystemExit(f"failed: {self.command('FOLDER', 'HOST')}")


def cpu_s() -> float:
    """Return the CPU seconds of this process and of the children it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def hosts_cpu_s(scratch: Path) -> float:
    """Return the CPU seconds of all processes of the hosts, and of their children that have ended.

    :param scratch: folder of the cloud, which their environments name.
    """
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_host = int(process.name) != os.getpid() and os.fsencode(scratch) in (process / "environ").read_bytes()
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        # It has ended.
        except OSError:
            continue
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: utime, stime, cutime, cstime.
        ticks += sum(map(int, fields[11:15])) if is_host else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(tool: Ours | Shell, scenario: Scenario, folder: Path, scratch: Path) -> Seconds:
    """Return the seconds of one transfer."""
    if scenario.prepare:
        scenario.prepare(folder)
        tool.send(folder)
    scenario.change(folder)
    hosts = hosts_cpu_s(scratch)
    wall, cpu = time.monotonic(), cpu_s()
    tool.send(folder)
    wall, cpu = time.monotonic() - wall, cpu_s() - cpu
    # What has just been closed has not ended yet.
    time.sleep(0.5)
    return wall, cpu, hosts_cpu_s(scratch) - hosts


@contextmanager
def hosts_of_a_cloud(count: int, scratch: Path) -> Iterator[tuple[Session, list[Host], Path]]:
    """Launch hosts of the embedded cloud; yield the session, the hosts and an OpenSSH config of them."""
    import localcloud
    from orchestrator.config import settings

    (scratch / "config.ini").write_text(CONFIG)
    env = dict(os.environ) | localcloud.up(scratch / "cloud", pending=0.2, boot=0.2)
    try:
        os.environ.update(env)
        config = settings.load(scratch / "config.ini", env)
        with Session(config, home=scratch / "home", runs=scratch / "runs") as session:
            launched = session.cluster.launch(session.cluster.plan(count))
            if launched.failed:
                raise SystemExit(f"not launched: {launched.failed}")
            hosts = [session.inventory.ready(host) for host in session.inventory.hosts(())]
            try:
                yield session, hosts, session.ssh_config.write().path
            finally:
                session.cluster.terminate()
    finally:
        localcloud.down(scratch / "cloud")


def tools(session: Session, hosts: Sequence[Host], ssh_config: Path, scratch: Path) -> dict[str, Ours | Shell]:
    """Return the tools to compare, by name."""
    ssh = f"ssh -F {shlex.quote(str(ssh_config))}"
    into = "mkdir -p bench-tar && exec tar -C bench-tar -xf -"
    senders: dict[str, Ours | Shell] = {
        "stratus": Ours(session, hosts, scratch / "logs"),
        "tar": Shell(lambda folder, host: f"set -o pipefail; tar -C {folder} -cf - . | {ssh} {host} '{into}'", hosts),
    }
    if shutil.which("rsync"):
        senders["rsync"] = Shell(lambda folder, host: f"rsync -a -e '{ssh}' {folder}/ {host}:bench-rsync/", hosts)
    else:
        print("rsync is not installed (apt install rsync): left out")
    return senders


def scenarios(options: argparse.Namespace) -> list[Scenario]:
    """Return the transfers to measure."""

    def small(folder: Path) -> None:
        small_files(folder, options.files)

    def blob(folder: Path) -> None:
        random_file(folder, options.mib)

    def text(folder: Path) -> None:
        text_file(folder, options.mib)

    def edit(folder: Path) -> None:
        (folder / "package7/module7.py").write_text(f"print({time.time_ns()})\n")

    return [
        Scenario(f"{options.files} small files", "tar", small),
        Scenario(f"{options.files} small files, one changed", "rsync", edit, small),
        Scenario(f"{options.mib} MiB random", "tar", blob),
        Scenario(f"{options.mib} MiB text", "tar", text),
        Scenario(f"one line beside {options.mib} MiB", "rsync", one_line, blob),
    ]


def report(name: str, rival: str, seconds: dict[str, list[Seconds]]) -> dict[str, object]:
    """Print the medians of one scenario and its ratios; return them."""
    medians = {
        tool: [statistics.median(values) for values in zip(*rounds, strict=True)] for tool, rounds in seconds.items()
    }
    row: dict[str, object] = {"scenario": name, "medians_s": medians, "rival": rival}
    texts = "   ".join(
        f"{tool} {wall:.2f} s (CPU: client {cpu:.2f}, hosts {hosts:.2f})"
        for tool, (wall, cpu, hosts) in medians.items()
    )
    if rival in medians:
        own, other = medians["stratus"], medians[rival]
        wall, cpu, both = own[0] / other[0], own[1] / other[1], sum(own[1:]) / sum(other[1:])
        bars = BARS[rival]
        row |= {"wall_ratio": wall, "cpu_ratio": cpu, "all_cpu_ratio": both, "bars": bars}
        row["met"] = all(bar is None or ratio <= bar for ratio, bar in zip((wall, cpu), bars, strict=True))
        figures = f"wall {wall:.2f}, CPU of client {cpu:.2f}, of client and hosts {both:.2f}"
        texts += f"   of {rival}: {figures}   {'' if row['met'] else 'ABOVE ITS BAR'}"
    print(f"{name:36} {texts}", flush=True)
    return row


def main() -> int:
    """Measure all scenarios; 1 if one is above its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mib", type=int, default=200, help="size of the large file")
    parser.add_argument("--files", type=int, default=1000, help="number of small files")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--tools", default="", help="tools to measure, separated by commas")
    parser.add_argument("--tree", action="store_true", help="hosts that pass a large file on to each other")
    parser.add_argument("--link", type=float, default=20, help="with --tree: bandwidth of each host, MB/s")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name, hosts_of_a_cloud(options.hosts, Path(name)) as (session, hosts, config):
        if options.tree:
            rows = byte_tree.measure(session, hosts, Path(name), options)
        compared = {} if options.tree else tools(session, hosts, config, Path(name))
        compared = {key: tool for key, tool in compared.items() if key in (options.tools or key).split(",")}
        for scenario in scenarios(options):
            if options.tree or options.only not in scenario.name:
                continue
            seconds: dict[str, list[Seconds]] = {tool: [] for tool in compared}
            for number in range(options.rounds):
                for key, tool in compared.items():
                    folder = Path(name) / "source" / f"{number}-{key}"
                    seconds[key].append(measure(tool, scenario, folder, Path(name)))
                    shutil.rmtree(folder)
            rows.append(report(scenario.name, scenario.rival, seconds))
    if options.json:
        options.json.write_text(
            json.dumps({"hosts": options.hosts, "rounds": options.rounds, "scenarios": rows}, indent=2)
        )
    return 0 if all(row.get("met", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
