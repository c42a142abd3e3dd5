"""First program of a docker host: boots it, runs its SSH server and power switch, and ends it.

It reports events to the owner over one connection, one JSON object per line. When that connection ends, the owner is
gone: then this program ends with every process of the host.
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

CONFIG = Path("/var/lib/host/boot.json")
_RUN = Path("/run/host")
_CONNECT_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 4.0

STOPPED, SHUTDOWN, REBOOT = 40, 41, 42
"""Exit statuses: the cause of the host's end."""

Event = tuple[str, float]
"""An action (``off``, ``reboot``, ``cancel``, ``end``, ``orphaned``) and the seconds until it."""


class Supervisor:
    """One boot of the host, from beginning to end."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._started_at = time.monotonic()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._environment = {**os.environ, **config["environment"], "HOME": "/root"}
        # The supervisor's own modules must not be visible to programs on the host.
        self._environment.pop("PYTHONPATH", None)
        self._liveness = _connect(config["liveness"])

    def run(self) -> int:
        """Boot, then wait for the end; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            # SimpleQueue.put is reentrant, so it is safe in a signal handler.
            signal.signal(number, lambda *_: self._events.put(("end", 0.0)))
        _RUN.mkdir(parents=True, exist_ok=True)
        control = _RUN / "control"
        control.unlink(missing_ok=True)
        os.mkfifo(control, 0o600)
        for work in (self._watch_owner, self._read_control, self._boot):
            threading.Thread(target=work, daemon=True).start()
        return self._wait()

    def report(self, event: str) -> None:
        """Report an event to the owner."""
        self._liveness.sendall(json.dumps({"event": event}).encode() + b"\n")

    def _wait(self) -> int:
        due: tuple[float, int] | None = None
        while True:
            timeout = None if due is None else max(0.0, due[0] - time.monotonic())
            try:
                action, seconds = self._events.get(timeout=timeout)
            except queue.Empty:
                assert due is not None
                return due[1]
            match action:
                case "end" | "orphaned":
                    return STOPPED
                case "cancel":
                    due = None
                case "off" | "reboot":
                    due = (time.monotonic() + seconds, SHUTDOWN if action == "off" else REBOOT)

    def _watch_owner(self) -> None:
        with contextlib.suppress(OSError):
            while self._liveness.recv(4096):
                pass
        self._events.put(("orphaned", 0.0))

    def _read_control(self) -> None:
        # Open for writing, too: otherwise the pipe would be at its end whenever no command has it open.
        with open(os.open(_RUN / "control", os.O_RDWR), encoding="ascii", errors="replace") as control:
            for line in control:
                action, _, seconds = line.strip().partition(" ")
                if action in ("off", "reboot", "cancel") and seconds.isdigit():
                    self._events.put((action, float(seconds)))

    def _boot(self) -> None:
        boot = Boot(self._config, self._environment, self._started_at)
        result = "error"
        try:
            boot.log(f"boot of {os.uname().nodename}")
            self._prepare_groups(boot)
            if self._config["unresponsive_port"]:
                self._port = _open_unresponsive_port(self._config["unresponsive_port"])
            boot.run_early()
            time.sleep(max(0.0, self._config["opens_at"] - time.time()))
            self._serve_ssh()
            self.report("running")
            _start_services(self._environment)
            result = "done" if boot.run_final() else "error"
        finally:
            boot.log(f"cloud-init: finished: {result}")
            (_RUN / "cloud-init-result").write_text(result + "\n")

    def _prepare_groups(self, boot: Boot) -> None:
        try:
            _enable_child_groups()
        except (OSError, subprocess.CalledProcessError) as error:
            boot.log(f"cgroups: {error}: a Docker engine may not start on this host")

    def _serve_ssh(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        subprocess.Popen(["/usr/sbin/sshd", "-D"], stdin=subprocess.DEVNULL, env=self._environment)
        end = time.monotonic() + 30
        while not _listens(self._config["port"]):
            if time.monotonic() > end:
                raise TimeoutError("the SSH server does not listen")
            time.sleep(0.02)


def _connect(endpoint: Mapping[str, Any]) -> socket.socket:
    connection = socket.create_connection((endpoint["host"], endpoint["port"]), timeout=_CONNECT_TIMEOUT_S)
    connection.settimeout(None)
    connection.sendall(json.dumps({"token": endpoint["token"]}).encode() + b"\n")
    return connection


def _open_unresponsive_port(settings: Mapping[str, Any]) -> socket.socket | None:
    """Open a port on which connections hang: the kernel accepts them without a reader, or drops all packets."""
    if not settings["accepts"]:
        rule = ["INPUT", "--protocol", "tcp", "--dport", str(settings["port"]), "--jump", "DROP"]
        subprocess.run(["/usr/sbin/iptables", "--append", *rule], check=True)
        return None
    listener = socket.create_server(("", settings["port"]), backlog=128)
    return listener


def _enable_child_groups() -> None:
    """Let a Docker engine create cgroups in version 2, where a group with processes cannot have child groups."""
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
    # Not by connecting, which would appear in the server's log.
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[1].endswith(wanted) and fields[3] == "0A" for fields in map(str.split, lines))


def _start_services(environment: Mapping[str, str]) -> None:
    """Start the enabled services that a user may have installed: a Docker engine."""
    if list(Path("/etc/rc2.d").glob("S??docker")):
        subprocess.run(["/usr/local/sbin/systemctl", "start", "docker"], env=dict(environment), check=False)


def _end_all() -> None:
    """Terminate every process and wait for it a while; the kernel kills the rest when this program exits."""
    try:
        os.kill(-1, signal.SIGTERM)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + _END_TIMEOUT_S
    own_pids = {1, os.getpid()}
    while time.monotonic() < deadline and any(
        int(pid) not in own_pids for pid in filter(str.isdigit, os.listdir("/proc"))
    ):
        _reap()
        time.sleep(0.02)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    """Run the host until it ends."""
    code = Supervisor(json.loads(CONFIG.read_text())).run()
    _end_all()
    return code


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Skips the interpreter's shutdown, during which the threads would still run.
    os._exit(status)
