"""Process hosts of the embedded cloud: one real SSH server per instance, without root.

A process host serves SSH on a loopback address, has a folder as its disk, and is the ancestor of everything that is
started on it: detached processes stay its descendants and are killed with it. If the kernel has Landlock, a host can
write only its folder and the cloud's cache, and signal only its own processes.

:class:`ProcessHosts` is used by the owner. All hosts are forks of one process,
:mod:`localcloud.hosts.process.supervisor`, which ends when its owner has ended for any reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from localcloud.core.process_tree import is_alive, kill_descendants, signal_all
from localcloud.hosts.interface import HostError, HostState
from localcloud.hosts.process import disk, visible_paths
from localcloud.hosts.spec import HostSpec, SharedSettings

_STOP_DEADLINE_S = 20.0
_CLOSE_DEADLINE_S = 25.0
_SWEEP_DEADLINE_S = 5.0
_POLL_S = 0.01


class ProcessHosts:
    """Starts and stops process hosts. Safe to use from several threads; a context manager.

    :param home: folder of the cloud; one owner at a time.
    :param on_shutdown: called with the instance id, on a separate thread, when a host has shut itself down; all of its
        processes are gone by then.
    :param environ: the owner's environment, from which hosts get access to the network; this process's by default.
    :raises HostError: another living owner uses ``home``.
    """

    def __init__(
        self, home: Path, *, on_shutdown: Callable[[str], None], environ: Mapping[str, str] | None = None
    ) -> None:
        self._home = home.resolve()
        for folder in ("cache", "filesystems"):
            (self._home / folder).mkdir(parents=True, exist_ok=True)
        self._on_shutdown = on_shutdown
        self._states: dict[str, HostState] = {}
        self._folders: dict[str, Path] = {}
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._closed = False
        self._shutdowns: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # Before the leftovers are killed: they could be a living owner's hosts.
        self._lock = _lock(self._home)
        _kill_leftovers(self._home)
        self._supervisor = _start_supervisor(self._home)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._report_shutdowns)]
        for thread in self._threads:
            thread.start()
        shared = _shared_settings(self._home, os.environ if environ is None else environ)
        self._send({"do": "configure", "shared": shared.to_json()})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, spec: HostSpec) -> None:
        """Start a host; returns at once.

        :raises HostError: it is on already, or these hosts are closed.
        """
        folder = spec.folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        # From now on: the boot time includes the fork and the early stages.
        opens_at = time.monotonic() + spec.boot_seconds
        with self._changed:
            state = self.state(spec.instance_id)
            if state.state != "off":
                raise HostError(f"{spec.instance_id} is already on")
            self._states[spec.instance_id] = HostState(spec.instance_id, "booting", boots=state.boots + 1)
            self._folders[spec.instance_id] = folder
        try:
            self._send({"do": "start", "spec": replace(spec, folder=folder).to_json(), "opens_at": opens_at})
        except HostError:
            with self._changed:
                self._states[spec.instance_id] = state
            raise

    def stop(self, instance_id: str) -> None:
        """Stop a host that is on; every process of it is gone on return, its folder is kept.

        :raises HostError: it is still running after 20 s.
        """
        if self._is_off(instance_id):
            return
        self._send({"do": "stop", "id": instance_id})
        # Longer than the supervisor waits before it kills a host.
        if not self._wait(lambda: self._is_off(instance_id), _STOP_DEADLINE_S):
            raise HostError(f"{instance_id} cannot be stopped")

    def destroy(self, instance_id: str) -> None:
        """Stop a host and remove its folder.

        :raises HostError: it cannot be stopped.
        :raises OSError: a file in its folder cannot be removed.
        """
        self.stop(instance_id)
        with self._changed:
            self._states.pop(instance_id, None)
            folder = self._folders.pop(instance_id, None)
        if folder is not None:
            _remove(folder)

    def reboot(self, instance_id: str) -> None:
        """Kill everything that runs on a host and boot it again; returns at once. Does nothing if it is off."""
        self._send_if_on("reboot", instance_id)

    def open_at(self, instance_id: str, addresses: Collection[str]) -> None:
        """Let the SSH port answer at these addresses of a host only; open connections stay.

        Returns at once. Does nothing if the host is off.
        """
        if not self._is_off(instance_id):
            self._send({"do": "open-at", "id": instance_id, "addresses": list(addresses)})

    def freeze(self, instance_id: str) -> None:
        """Suspend a host: connections stay open, and nothing answers. Does nothing if it is off."""
        self._send_if_on("freeze", instance_id)

    def thaw(self, instance_id: str) -> None:
        """Resume a frozen host. Does nothing if it is off."""
        self._send_if_on("thaw", instance_id)

    def state(self, instance_id: str) -> HostState:
        """Return the state of a host; an unknown one is off."""
        with self._changed:
            return self._states.get(instance_id, HostState(instance_id, "off"))

    def wait(self, instance_id: str, state: str, *, deadline_s: float) -> bool:
        """Wait until a host is ``booting``, ``running`` or ``off``; return False on timeout."""
        return self._wait(lambda: self.state(instance_id).state == state, deadline_s)

    def close(self) -> None:
        """End all hosts and their supervisor; nothing of them is left on return. Folders are kept."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError):
                _pipe(self._supervisor.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(_CLOSE_DEADLINE_S)
        # A supervisor that hangs is killed with all hosts: nothing may be left.
        if self._supervisor.poll() is None:
            kill_descendants(self._supervisor.pid, deadline_s=_SWEEP_DEADLINE_S)
            self._supervisor.kill()
            self._supervisor.wait()
        # All events are applied before the thread that reports shutdowns ends.
        self._threads[0].join()
        self._shutdowns.put(None)
        _kill_leftovers(self._home)
        self._lock.close()

    def _send_if_on(self, action: str, instance_id: str) -> None:
        if not self._is_off(instance_id):
            self._send({"do": action, "id": instance_id})

    def _is_off(self, instance_id: str) -> bool:
        return self.state(instance_id).state == "off"

    def _wait(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, deadline_s)

    def _send(self, command: Mapping[str, Any]) -> None:
        line = json.dumps(command).encode() + b"\n"
        with self._writing:
            if self._closed:
                raise HostError("these hosts are closed")
            try:
                stdin = _pipe(self._supervisor.stdin)
                stdin.write(line)
                stdin.flush()
            except OSError as error:
                raise HostError(f"the hosts' supervisor is gone; see {self._home / 'hosts.log'}") from error

    def _listen(self) -> None:
        """Apply events until the supervisor ends."""
        with _pipe(self._supervisor.stdout) as events:
            for line in events:
                with self._changed:
                    self._apply_event(json.loads(line))
                    self._changed.notify_all()
        with self._changed:
            for instance_id, state in self._states.items():
                self._states[instance_id] = replace(state, state="off", cause="stopped")
            self._changed.notify_all()

    def _apply_event(self, event: Mapping[str, Any]) -> None:
        state = self._states.get(event["id"])
        if state is None:
            return
        cause = event.get("cause", state.cause)
        match event["event"]:
            case "running":
                state = replace(state, state="running", confined=event["confined"])
            case "booting":
                state = replace(state, state="booting", boots=state.boots + 1, cause=cause)
            case "off":
                state = replace(state, state="off", cause=cause)
                if cause == "shutdown":
                    self._shutdowns.put(event["id"])
        self._states[event["id"]] = state

    def _report_shutdowns(self) -> None:
        """Call the owner on a separate thread, because it may call ``stop`` in return."""
        while (instance_id := self._shutdowns.get()) is not None:
            try:
                self._on_shutdown(instance_id)
            except Exception as error:
                # A failing callback must not prevent later ones.
                sys.excepthook(type(error), error, error.__traceback__)


def end_leftovers(home: Path) -> None:
    """Kill what the owner of ``home`` left behind when it was killed.

    :raises HostError: another living owner uses ``home``.
    """
    with _lock(home.resolve()):
        _kill_leftovers(home.resolve())


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _shared_settings(home: Path, environ: Mapping[str, str]) -> SharedSettings:
    readable = visible_paths.readable_paths(home, environ)
    return SharedSettings(
        home=home,
        python=Path(getattr(sys, "_base_executable", None) or sys.executable),
        network=disk.network_variables(environ, home),
        readable=readable,
        executable=visible_paths.executable_paths(readable),
    )


def _start_supervisor(home: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[3]
    with (home / "hosts.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "localcloud.hosts.process.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=home,
            # Ctrl-C in the owner's terminal must not reach the hosts.
            start_new_session=True,
            # Hosts are forks of it, and their programs can read this environment, so nothing of the owner's is in it.
            env={
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
                "PYTHONPATH": str(root),
                "PYTHONSAFEPATH": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "LOCALCLOUD_HOSTS": str(home),
            },
        )


def _lock(home: Path) -> IO[bytes]:
    file = (home / "hosts.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise HostError(f"another embedded cloud uses {home}") from error
    return file


def _kill_leftovers(home: Path) -> None:
    """Kill what a killed owner of ``home``, or a host, may have left behind, and wait until it is gone."""
    deadline = time.monotonic() + _SWEEP_DEADLINE_S
    killed: set[int] = set()
    while time.monotonic() < deadline:
        leftovers = list(_leftovers(home))
        killed.update(leftovers)
        # A killed process loses its environment, by which it is found, before it is gone.
        if not any(map(is_alive, killed)):
            return
        signal_all(leftovers, signal.SIGKILL)
        time.sleep(_POLL_S)


def _leftovers(home: Path) -> Iterator[int]:
    marks = (f"LOCALCLOUD_HOSTS={home}".encode(), f"PIP_CACHE_DIR={home}/cache/pip".encode())
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            variables = Path("/proc", name, "environ").read_bytes().split(b"\0")
            carries_id = any(variable.startswith(b"LOCALCLOUD_INSTANCE=") for variable in variables)
            if marks[0] in variables or (carries_id and marks[1] in variables):
                yield int(name)


def _remove(folder: Path) -> None:
    """Remove a host's folder, even if a program on it removed its own permissions."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except PermissionError:
        # os.walk goes top-down, so a folder gets its permissions before it is entered.
        for parent, names, _ in os.walk(folder):
            for path in (Path(parent, name) for name in names):
                if not path.is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(folder)
