"""Run a job with secrets in every place of a computer, and record disks, processes, ports and local files."""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import settings
from orchestrator.core.events import Event
from orchestrator.jobs import query
from orchestrator.session import Session
from tests.support.localcloud.clients import boto, wait_until
from tests.support.project import CONFIG, Project

JOB = """
framework = dask
multi = python wait.py
"""
WAIT = """
import os, pathlib, time
print("the job runs on", os.environ["STRATUS_HOST"])
pathlib.Path("outputs").mkdir()
pathlib.Path("outputs/metrics.json").write_text('{"seen": 1}')
while not pathlib.Path("go").exists():
    time.sleep(0.05)
"""
SECRETS = {
    "id in the environment": "AKIACANARYENV0000001",
    "secret in the environment": "canary+environment/Zq7Zq7Zq7Zq7Zq7Zq7Zq7",
    "token in the environment": "canary-session-token-Vx3Vx3Vx3Vx3Vx3Vx3",
    "id in the config file": "AKIACANARYINI0000002",
    "secret in the config file": "canary+ini/Jt5Jt5Jt5Jt5Jt5Jt5Jt5Jt5Jt5Jt5",
    "id in the profile": "AKIACANARYPRO0000003",
    "secret in the profile": "canary+profile/Hn9Hn9Hn9Hn9Hn9Hn9Hn9Hn9",
    "password of an index": "canary-password-Bk2Bk2",
}
"""Recognizable secrets, one for every place on a computer that can hold one."""

PROFILES = """
[default]
aws_access_key_id = {id in the profile}
aws_secret_access_key = {secret in the profile}
"""

MORE = """
[summary]
access_key = {id in the config file}
secret_key = {secret in the config file}
[install]
pip_options = --index-url https://me:{password of an index}@pypi.invalid/simple
"""


@dataclass
class LeakScan:
    """Everything recorded of a run on two VMs, while it ran and afterwards."""

    env: Mapping[str, str]
    folder: Path
    events: list[Event] = field(default_factory=list)
    launches: list[dict[str, Any]] = field(default_factory=list)
    processes: dict[str, bytes] = field(default_factory=dict)
    disks: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    listeners: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    outside: dict[tuple[str, int], str] = field(default_factory=dict)
    run_id: str = ""
    tls_without_certificate: str = ""
    user_data: dict[str, str] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    key_pairs: tuple[list[str], list[str]] = ([], [])
    key_mode: tuple[int, int, int] = (0, 0, 0)

    @property
    def home(self) -> Path:
        """The home folder of the embedded cloud."""
        return Path(self.env["LOCALCLOUD_HOME"])

    def scan(self, session: Session) -> None:
        """Record disks, processes, ports and AWS resources while the job runs."""
        hosts = session.inventory.hosts()
        ec2 = boto(self.env, "ec2")
        for host in hosts:
            disk = self.home / "machines" / host.identity
            pids = [pid for pid in process_ids() if belongs_to_instance(pid, host.identity)]
            self.processes |= {f"{host.name} {pid}": arguments_and_environment(pid) for pid in pids}
            self.listeners[host.private_address] = set().union(*(listening_addresses(pid) for pid in pids))
            for path in [path for path in disk.rglob("*") if path.is_file() and not path.is_symlink()]:
                self.disks[str(path.relative_to(disk.parent))] = path.read_bytes()
                self.modes[str(path.relative_to(disk.parent))] = path.stat().st_mode & 0o777
            answer = ec2.describe_instance_attribute(InstanceId=host.identity, Attribute="userData")
            self.user_data[host.name] = base64.b64decode(answer["UserData"]["Value"]).decode()
        for port in {port for listeners in self.listeners.values() for _, port in listeners}:
            self.outside[("127.0.0.1", port)] = try_connect("127.0.0.1", port)
        located = query.locate(session.jobs.ssh, hosts, self.run_id, session.jobs.context.runs_folder)
        scheduler = located.run.dashboard_port - 1
        self.tls_without_certificate = try_tls(hosts[0].private_address, scheduler)
        self.rules = ec2.describe_security_groups()["SecurityGroups"]
        key = session.context.key_pair.key_file
        self.key_mode = (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777, key.stat().st_uid)
        self.key_pairs[0].extend(pair["KeyName"] for pair in ec2.describe_key_pairs()["KeyPairs"])

    def local_files(self) -> dict[str, bytes]:
        """Return all files of the run on this computer, and the log of the cloud's daemon."""
        places = [self.folder / "laptop", self.home]
        files = [path for place in places for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
        content = {str(path): path.read_bytes() for path in files if "machines" not in path.parts}
        return content | {"events": "\n".join(map(repr, self.events)).encode()}


def process_ids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def belongs_to_instance(pid: int, identity: str) -> bool:
    """True if a process belongs to an instance."""
    try:
        return f"LOCALCLOUD_INSTANCE={identity}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def arguments_and_environment(pid: int) -> bytes:
    """Return the arguments and the environment of a process."""
    try:
        return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except OSError:
        return b""


def listening_addresses(pid: int) -> set[tuple[str, int]]:
    """Return the addresses and ports on which a process listens; proc(5), ``net/tcp``."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    places = {row[9]: row[1] for row in rows if row[3] == "0A"}
    addresses = set()
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return set()
    for link in links:
        inode = link.removeprefix("socket:[").removesuffix("]")
        if link.startswith("socket:[") and inode in places:
            address, port = places[inode].split(":")
            plain = ".".join(str(byte) for byte in bytes.fromhex(address)[::-1]) if len(address) == 8 else address
            addresses.add((plain, int(port, 16)))
    return addresses


def try_connect(address: str, port: int) -> str:
    """Connect to a port; return ``open``, or the name of the error."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return "open"
    except OSError as error:
        return type(error).__name__


def try_tls(address: str, port: int) -> str:
    """Try a TLS handshake without the run's certificate; return the outcome."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), timeout=5) as plain,
            context.wrap_socket(plain) as secure,
        ):
            secure.settimeout(5)
            secure.sendall(b"hello")
            return "closed" if secure.recv(1) == b"" else "talks"
    except OSError as error:
        return str(error)


def run_with_secrets(cloud: Mapping[str, str], folder: Path) -> LeakScan:
    """Run a job from launch to terminate, with secrets in every place."""
    scan = LeakScan(cloud, folder)
    Project(folder, "canary", cloud).job(JOB, wait__py=WAIT)
    profiles = folder / "profiles"
    profiles.write_text(PROFILES.format_map(SECRETS))
    config = CONFIG.format(name="canary", endpoint=cloud["AWS_ENDPOINT_URL"], port=cloud["REHEARSAL_SSH_PORT"])
    (folder / "config.ini").write_text(config + MORE.format_map(SECRETS))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
        patch.setenv("AWS_CONFIG_FILE", str(profiles))
        with session(scan) as by_profile:
            report = by_profile.cluster.launch(by_profile.cluster.plan(2))
            assert not report.failed, report.failed
        for name, secret in (("ACCESS_KEY_ID", "id"), ("SECRET_ACCESS_KEY", "secret"), ("SESSION_TOKEN", "token")):
            patch.setenv(f"AWS_{name}", SECRETS[f"{secret} in the environment"])
        with session(scan) as by_environment:
            run_job_and_scan(scan, by_environment)
    return scan


def session(scan: LeakScan) -> Session:
    """Return a session with the credentials of the environment."""
    config = settings.load(scan.folder / "config.ini", dict(os.environ))
    laptop = scan.folder / "laptop"
    new_session = Session(config, home=laptop, runs=laptop / "runs", on_event=scan.events.append)
    new_session.context.clients.session.events.register(
        "before-parameter-build.ec2.RunInstances", lambda params, **_: scan.launches.append(dict(params))
    )
    return new_session


def run_job_and_scan(scan: LeakScan, session: Session) -> None:
    """Install, run, scan and terminate."""
    installed = session.jobs.install()
    assert not installed.failed, installed.failed
    handle = session.jobs.start(multi=True)
    outputs = f"machines/*/home/*/stratus/runs/{handle.run_id}/workdir/outputs/*"
    wait_until(lambda: list(scan.home.glob(outputs)), seconds=60)
    assert session.jobs.fetch(handle.run_id).metrics
    scan.run_id = handle.run_id
    scan.scan(session)
    assert session.cluster.terminate().remaining == ()
    scan.key_pairs[1].extend(pair["KeyName"] for pair in boto(scan.env, "ec2").describe_key_pairs()["KeyPairs"])


def encodings(secret: str) -> list[bytes]:
    """Return a secret in plain text, and in base64 at any offset."""
    raw = secret.encode()
    encoded = [base64.b64encode(b"x" * shift + raw)[4:-4] for shift in range(3)]
    return [raw, *encoded]


def places_with(secret: str, places: Mapping[str, bytes]) -> list[str]:
    """Return the places that contain a secret."""
    return [place for place, content in places.items() if any(form in content for form in encodings(secret))]


def places_with_wrapped(secret: str, places: Mapping[str, bytes]) -> list[str]:
    """As `places_with`, for text that PEM and JSON break into lines."""
    return [place for place, content in places.items() if secret.encode() in re.sub(rb"\\n|\n", b"", content)]
