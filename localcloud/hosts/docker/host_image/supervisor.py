"""The first program of a docker host: boots it, keeps its SSH server and its power switch, and ends it.

It says what happens over one connection to whoever made the host, one JSON object per line, and takes the end of that
connection for the end of its owner: then it ends, too, and every process of the host with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localcloud.hosts.docker.host_image.first_boot import Boot

ORDERS = Path("/var/lib/host/orders.json")
_RUN = Path("/run/host")
_TETHER_DEADLINE_S = 10.0
_END_DEADLINE_S = 4.0

STOPPED, SHUTDOWN, REBOOT = 40, 41, 42
"""Exit statuses: how the host ended."""

Event = tuple[str, float]
"""A word (``off``, ``reboot``, ``cancel``, ``end``, ``orphaned``) and in how many seconds it is to come true."""


class Supervisor:
    """One boot of the host, from its beginning to its end."""

    def __init__(self, orders: Mapping[str, Any]) -> None:
        self._orders = orders
        self._began = time.monotonic()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._environment = {**os.environ, **orders["environment"], "HOME": "/root"}
        self._environment.pop("PYTHONPATH", None)
        self._tether = _connect(orders["tether"])

    def run(self) -> int:
        """Boot, then wait for an end; returns the exit status that tells which."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put(("end", 0.0)))
        _RUN.mkdir(parents=True, exist_ok=True)
        control = _RUN / "control"
        control.unlink(missing_ok=True)
        os.mkfifo(control, 0o600)
        for work in (self._hear_owner, self._hear_control, self._boot):
            threading.Thread(target=work, daemon=True).start()
        return self._wait()

    def tell(self, event: str) -> None:
        """Say what happens."""
        self._tether.sendall(json.dumps({"event": event}).encode() + b"\n")

    def _wait(self) -> int:
        due: tuple[float, int] | None = None
        while True:
            timeout = None if due is None else max(0.0, due[0] - time.monotonic())
            try:
                word, seconds = self._events.get(timeout=timeout)
            except queue.Empty:
                assert due is not None
                return due[1]
            match word:
                case "end" | "orphaned":
                    return STOPPED
                case "cancel":
                    due = None
                case "off" | "reboot":
                    due = (time.monotonic() + seconds, SHUTDOWN if word == "off" else REBOOT)

    def _hear_owner(self) -> None:
        with contextlib.suppress(OSError):
            while self._tether.recv(4096):
                pass
        self._events.put(("orphaned", 0.0))

    def _hear_control(self) -> None:
        # Open for writing, too, so that the end of one writer is not the end of the pipe.
        with open(os.open(_RUN / "control", os.O_RDWR), encoding="ascii", errors="replace") as control:
            for line in control:
                word, _, seconds = line.strip().partition(" ")
                if word in ("off", "reboot", "cancel") and seconds.isdigit():
                    self._events.put((word, float(seconds)))

    def _boot(self) -> None:
        boot = Boot(self._orders, self._environment, self._began)
        result = "error"
        try:
            boot.say(f"boot of {os.uname().nodename}")
            self._prepare_groups(boot)
            if self._orders["decoy"]:
                self._decoy = _open_decoy(self._orders["decoy"])
            boot.early()
            time.sleep(max(0.0, self._orders["opens_at"] - time.time()))
            self._serve_ssh()
            self.tell("running")
            _start_services(self._environment)
            result = "done" if boot.final() else "error"
        finally:
            boot.say(f"cloud-init: finished: {result}")
            (_RUN / "cloud-init-result").write_text(result + "\n")

    def _prepare_groups(self, boot: Boot) -> None:
        try:
            _make_room_for_groups()
        except (OSError, subprocess.CalledProcessError) as error:
            boot.say(f"cgroups: {error}: an engine may not start on this host")

    def _serve_ssh(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        subprocess.Popen(["/usr/sbin/sshd", "-D"], stdin=subprocess.DEVNULL, env=self._environment)
        end = time.monotonic() + 30
        while not _listens(self._orders["port"]):
            if time.monotonic() > end:
                raise TimeoutError("the SSH server does not listen")
            time.sleep(0.02)


def _connect(tether: Mapping[str, Any]) -> socket.socket:
    connection = socket.create_connection((tether["host"], tether["port"]), timeout=_TETHER_DEADLINE_S)
    connection.settimeout(None)
    connection.sendall(json.dumps({"token": tether["token"]}).encode() + b"\n")
    return connection


def _open_decoy(decoy: Mapping[str, Any]) -> socket.socket | None:
    """Show a port that connections get nowhere on: the kernel takes them and nobody else, or it drops all packets."""
    if not decoy["answers"]:
        rule = ["INPUT", "--protocol", "tcp", "--dport", str(decoy["port"]), "--jump", "DROP"]
        subprocess.run(["/usr/sbin/iptables", "--append", *rule], check=True)
        return None
    listener = socket.create_server(("", decoy["port"]), backlog=128)
    return listener


def _make_room_for_groups() -> None:
    """Make room for an engine where cgroups have version 2: there, a group with processes cannot have groups."""
    top = Path("/sys/fs/cgroup")
    if not (top / "cgroup.controllers").exists():
        return
    subprocess.run(["/usr/bin/mount", "-o", "remount,rw", str(top)], check=True)
    (top / "init").mkdir(exist_ok=True)
    for pid in (top / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (top / "init/cgroup.procs").write_text(pid)
    controllers = (top / "cgroup.controllers").read_text().split()
    (top / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))


def _listens(port: int) -> bool:
    wanted = f":{port:04X}"
    # Not by a connection, which the server's log would show.
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[1].endswith(wanted) and fields[3] == "0A" for fields in map(str.split, lines))


def _start_services(environment: Mapping[str, str]) -> None:
    """What is enabled, as far as it is something that a host's user installs: an engine."""
    if list(Path("/etc/rc2.d").glob("S??docker")):
        subprocess.run(["/usr/local/sbin/systemctl", "start", "docker"], env=dict(environment), check=False)


def _end_all() -> None:
    """Ask every process to end, and wait for it a while; the kernel ends the others when the first program has gone."""
    try:
        os.kill(-1, signal.SIGTERM)
    except ProcessLookupError:
        return
    end = time.monotonic() + _END_DEADLINE_S
    ours = {1, os.getpid()}
    while time.monotonic() < end and any(int(pid) not in ours for pid in filter(str.isdigit, os.listdir("/proc"))):
        _reap()
        time.sleep(0.02)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    """Be the host until it ends."""
    code = Supervisor(json.loads(ORDERS.read_text())).run()
    _end_all()
    return code


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
