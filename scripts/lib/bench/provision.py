"""A virtual environment with a wheel, and three files: Stratus beside ansible-core and pyinfra, in one run.

    scripts/bench provision [--hosts 8] [--rounds 3] [--json FILE]

Hosts are real SSH servers of the embedded cloud. Each round has a wheel and files of its own, which each tool brings to
all hosts in a new process ("first"), and then once more, where nothing is left to do ("again"). Afterwards the host's
environment has to import the wheel's version, and its files have to be equal. The wheel comes from this computer's
disk, which the hosts share, so no package index is in the figures; bringing uv to a host (once) is, for Stratus.
Prints medians of wall seconds and of CPU seconds of the client; exits 1 if a ratio of the former is below its bar.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts/lib/bench"))

import bytes as transfers  # noqa: E402 - the path is set above; the modules beside this one
import commands  # noqa: E402

from orchestrator.core.host import Host  # noqa: E402
from orchestrator.session import Session  # noqa: E402

KINDS = ("first", "again")
BARS = {("first", "ansible"): 3.0, ("again", "ansible"): 10.0, ("first", "pyinfra"): 1.3, ("again", "pyinfra"): 1.5}
"""Smallest acceptable ratio of another tool's wall seconds to those of Stratus."""

FILES = ("a.txt", "b.txt", "c.txt")
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.pip:
        name: "{wheel}"
        virtualenv: "~/ansible/{number}/venv"
        virtualenv_command: "{python} -m venv"
    - ansible.builtin.file: {{path: "~/ansible/{number}/files", state: directory}}
    - ansible.builtin.copy: {{src: "{files}/{{{{ item }}}}", dest: "ansible/{number}/files/{{{{ item }}}}"}}
      loop: {names}
"""
DEPLOY = """
from pyinfra.operations import files, pip
pip.packages(
    packages=["{wheel}"],
    virtualenv="pyinfra/{number}/venv",
    virtualenv_kwargs={{"venv": True, "python": "{python}"}},
)
files.directory(path="pyinfra/{number}/files")
for name in {names!r}:
    files.put(src="{files}/" + name, dest="pyinfra/{number}/files/" + name)
"""


@dataclass(frozen=True)
class State:
    """End state of a round on every host.

    :param number: of the round; the wheel's version.
    """

    number: int
    folder: Path

    @property
    def files(self) -> Path:
        """Folder of the three files, and of Stratus's job."""
        return self.folder / f"job{self.number}"

    @property
    def wheel(self) -> Path:
        """The wheel."""
        return self.folder / "wheels" / f"benchwheel-{self.number}.0-py3-none-any.whl"

    def write(self) -> None:
        """Write wheel, files, and the job."""
        info = f"benchwheel-{self.number}.0.dist-info"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr("benchwheel.py", f"VERSION = {self.number}\n")
            metadata = f"Metadata-Version: 2.1\nName: benchwheel\nVersion: {self.number}.0\n"
            archive.writestr(f"{info}/METADATA", metadata)
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", f"benchwheel.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
        self.files.mkdir()
        for name in FILES:
            (self.files / name).write_text(f"{name} {self.number}\n")
        (self.files / "requirements.txt").write_text(f"benchwheel @ file://{self.wheel}\n")
        job = f"[job]\npython = {sys.executable}\nrequirements = requirements.txt\nsingle = true\n"
        (self.files / "job.ini").write_text(job)


def programs(state: State, scratch: Path, others: Path, logins: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the words of each tool's command for all hosts."""
    cold = commands.cold_commands(others, scratch, logins, "true")
    values = {
        "wheel": state.wheel,
        "number": state.number,
        "python": sys.executable,
        "files": state.files,
        "names": list(FILES),
    }
    # Stratus's own files of a job are no part of what is compared.
    shared = scratch / f"files{state.number}"
    shared.mkdir(exist_ok=True)
    for name in FILES:
        (shared / name).write_bytes((state.files / name).read_bytes())
    values["files"] = shared
    (scratch / "playbook.yml").write_text(PLAYBOOK.format(**values))
    (scratch / "deploy.py").write_text(DEPLOY.format(**values))
    ours = [
        sys.executable,
        "-m",
        "orchestrator",
        "--config",
        str(scratch / "config.ini"),
        "install",
        "--job",
        str(state.files),
    ]
    ansible = [
        "-i",
        str(scratch / "hosts.ini"),
        "-f",
        str(len(logins)),
        "-e",
        f"ansible_python_interpreter={others}/python",
    ]
    return {
        "stratus": ours,
        "pyinfra": [cold["pyinfra"][0], "-y", str(scratch / "hosts.py"), str(scratch / "deploy.py")],
        "ansible": [str(others / "ansible-playbook"), *ansible, str(scratch / "playbook.yml")],
    }


def check(session: Session, hosts: Sequence[Host], state: State) -> None:
    """Compare the end states of all tools on every host."""
    places = {
        "stratus": (f"stratus/venvs/job{state.number}", f"stratus/jobs/job{state.number}"),
        "pyinfra": (f"pyinfra/{state.number}/venv", f"pyinfra/{state.number}/files"),
        "ansible": (f"ansible/{state.number}/venv", f"ansible/{state.number}/files"),
    }
    for tool, (venv, files) in places.items():
        python = f"{venv}/bin/python -c 'import benchwheel; print(benchwheel.VERSION)'"
        command = f"{python} && cd {files} && cat {' '.join(FILES)}"
        expected = f"{state.number}\n" + "".join((state.files / name).read_text() for name in FILES)
        for host in hosts:
            result = session.context.ssh.run(host, command)
            if result.stdout != expected:
                raise SystemExit(f"{tool} on {host.name}: {result.stdout}{result.stderr}")


def rows_of(seconds: Mapping[tuple[str, str], list[tuple[float, float]]], hosts: int) -> list[dict[str, object]]:
    """Print the medians and the ratios to Stratus; return them."""
    rows: list[dict[str, object]] = []
    for (kind, tool), rounds in seconds.items():
        wall, cpu = commands.medians(rounds)
        own, _ = commands.medians(seconds[kind, "stratus"])
        bar, ratio = BARS.get((kind, tool)), wall / own
        figures = {"wall_s": wall, "cpu_s": cpu, "ratio": ratio, "bar": bar}
        rows.append({"kind": kind, "tool": tool, **figures, "met": bar is None or ratio >= bar})
        mark = "" if rows[-1]["met"] else f"   BELOW ITS BAR OF {bar:g}"
        figures_text = f"{wall:7.2f} s   client {cpu:6.2f} s CPU"
        print(f"{kind}, {hosts} hosts   {tool:10} {figures_text}   {ratio:5.2f} x stratus{mark}", flush=True)
    return rows


def main() -> int:
    """Measure all tools; 1 if a ratio is below its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    others = commands.environment()
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        wheels = Path(name, "wheels")
        wheels.mkdir()
        # Of all that is on this computer's disk, hosts see what is named here.
        os.environ["LOCALCLOUD_READABLE"] = str(wheels)
        cloud = stack.enter_context(transfers.hosts_of_a_cloud(options.hosts, Path(name)))
        session, hosts, _ = cloud
        scratch = Path(name)
        variables = {"ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_PIPELINING": "True"}
        os.environ.update({"STRATUS_HOME": str(scratch / "home"), **variables})
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        logins = [(host.address, host.user, str(host.port), str(host.key_file)) for host in hosts]
        seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(1, options.rounds + 1):
            state = State(number, scratch)
            state.write()
            for tool, arguments in programs(state, scratch, others, logins).items():
                for kind in KINDS:
                    _, usage = commands.run(arguments, scratch)
                    seconds.setdefault((kind, tool), []).append(usage)
            check(session, hosts, state)
        rows = rows_of(dict(sorted(seconds.items(), key=lambda item: KINDS.index(item[0][0]))), options.hosts)
    if options.json:
        options.json.write_text(json.dumps({"hosts": options.hosts, "rounds": options.rounds, "rows": rows}, indent=2))
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
