"""Host key rotation: the key of the launch is replaced by one that the host generates, in the first session.

The launch key travels in the user data, which every principal with ``ec2:DescribeInstanceAttribute`` can read while the
instance exists, and all VMs of a launch share it. It therefore serves for the first connection only. The order of steps
keeps hosts reachable if this process dies between two of them: first the tags name the new key beside the launch key;
then the host puts the new key in force; only when the host has proved to hold it do the tags drop the launch key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core import file_lock, remote_scripts
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import ConnectError, HostError, StratusError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host

if TYPE_CHECKING:
    from orchestrator.ssh import CommandResult, SshClient

SCRIPT_TIMEOUT_S = 20.0
"""For one round trip with a healthy host, ssh-keygen included."""

LOCK_TIMEOUT_S = 10.0
"""The holder of the lock writes one small file."""

RELOAD_TIMEOUT_S = 10.0
"""By then, sshd has re-read its keys after a reload."""


@dataclass(frozen=True)
class KnownHostKeys:
    """Host keys that this computer has seen in force: instance id -> public key.

    The tags hold the same keys, but EC2 may return an old tag for a while, and other principals of the account can
    write tags.

    :param path: file of one line each, ``i-0abc ssh-ed25519 AAAA...``.
    """

    path: Path
    clock: Clock

    def get(self, instance_id: str) -> str:
        """Return the known key of an instance; empty if there is none."""
        return self._load().get(instance_id, "")

    def add(self, instance_id: str, public_key: str) -> None:
        """Add a key and flush it to disk."""
        self._change(lambda keys: keys | {instance_id: public_key})

    def remove(self, instance_ids: Iterable[str]) -> None:
        """Remove the keys of terminated instances."""
        removed = set(instance_ids)
        if removed & self._load().keys():
            self._change(lambda keys: {name: key for name, key in keys.items() if name not in removed})

    def _load(self) -> dict[str, str]:
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        # Missing, or unusable, such as a folder of that name: the tags hold the keys, too.
        except OSError:
            return {}
        return {instance_id: key for instance_id, _, key in (line.partition(" ") for line in lines)}

    def _change(self, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the file atomically by what ``change`` returns; one process and thread at a time."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A lock file of its own: the replaced file is another inode, on which a lock would exclude nothing.
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            file_lock.wait_for(lock.fileno(), self.clock, LOCK_TIMEOUT_S)
            draft = self.path.with_name(f".{self.path.name}.new")
            with draft.open("w", encoding="utf-8") as file:
                file.writelines(f"{instance_id} {key}\n" for instance_id, key in change(self._load()).items())
                file.flush()
                os.fsync(file.fileno())
            # Flushed before the rename: a crash must not leave an empty file under the real name.
            draft.replace(self.path)


@dataclass(frozen=True)
class HostKeyRotation:
    """Gives hosts keys of their own; safe to use from many threads.

    :param tag_host_key: makes the tags of an instance (id) name its new key, beside the launch key.
    :param known_keys: keys that this computer has seen in force.
    :param rotated: ids of instances whose tags may drop the launch key; see `take_rotated`.
    """

    ssh_client: SshClient
    tag_host_key: Callable[[str, str], None]
    known_keys: KnownHostKeys
    on_event: EventHandler
    clock: Clock
    rotated: list[str] = field(default_factory=list)

    def first_command(self, host: Host) -> str:
        """Return the first command on a host: the begin of the rotation, so that it takes no round trip of its own."""
        return remote_scripts.inline_command("rotate.sh", "stage", host.boot_key) if host.boot_key else "true"

    def __call__(self, host: Host, first_result: CommandResult | None = None) -> Host:
        """Return the host with its new key pinned; unchanged when it has one already or cannot get one.

        A failed rotation is reported as a warning; it does not fail the launch.

        :param first_result: of the first command; None runs it.
        """
        if not host.boot_key:
            return host
        started = self.clock.monotonic()
        self.on_event(Event(host.name, "hostkey", "start"))
        try:
            rotated_host = self._rotate(host, first_result)
        except _RotationFailed as reason:
            self.on_event(Event(host.name, "hostkey", "unchanged", self.clock.monotonic() - started))
            message = f"still has the host key of its launch: {reason}"
            self.on_event(Event(host.name, "hostkey", "warning", text=message))
            return host
        self.rotated.append(host.identity)
        self.on_event(Event(host.name, "hostkey", "done", self.clock.monotonic() - started))
        return rotated_host

    def take_rotated(self) -> list[str]:
        """Return the ids of the instances rotated since the last call."""
        # Threads may append in between: only what was copied is removed.
        instance_ids = list(self.rotated)
        del self.rotated[: len(instance_ids)]
        return instance_ids

    def _rotate(self, host: Host, first_result: CommandResult | None) -> Host:
        state, key = _key_of(first_result) if first_result else self._run(host, self.first_command(host))
        if state == "staged":
            self._tag(host, key)
            adopt = remote_scripts.inline_command("rotate.sh", "adopt", host.boot_key, key)
            state, current_key = self._run(host, adopt)
            if current_key != key:
                # Another computer rotated it at the same time: the key that the host reports as in force counts.
                self._tag(host, current_key)
            key = current_key
        if key == host.boot_key:
            raise _RotationFailed("it did not take the new one")
        rotated_host = replace(host, host_key=key, boot_key="")
        self._verify(host, rotated_host)
        with suppress(OSError):  # a full disk: the tags hold the key, too
            self.known_keys.add(host.identity, key)
        return rotated_host

    def _run(self, host: Host, command: str) -> tuple[str, str]:
        try:
            return _key_of(self.ssh_client.run(host, command, timeout_s=SCRIPT_TIMEOUT_S))
        except HostError as error:
            raise _RotationFailed(error.message) from error

    def _tag(self, host: Host, public_key: str) -> None:
        try:
            self.tag_host_key(host.identity, public_key)
        except StratusError as error:
            raise _RotationFailed(str(error).splitlines()[0]) from error

    def _verify(self, old_host: Host, new_host: Host) -> None:
        """Reconnect, so that the host proves to hold its new key."""
        self.ssh_client.disconnect(old_host)
        last_error: ConnectError | None = None
        # sshd reloads in the background: for a moment it still offers the old key.
        for _ in self.clock.attempts(RELOAD_TIMEOUT_S, Backoff(0.05, 1.0)):
            try:
                self.ssh_client.wait_until_ready(new_host, timeout_s=RELOAD_TIMEOUT_S)
                return
            except ConnectError as error:
                last_error = error
                if error.kind != "host-key":
                    break
        assert last_error is not None
        raise _RotationFailed(f"it does not show the new one: {last_error.message}") from last_error


def _key_of(result: CommandResult) -> tuple[str, str]:
    """Return the state that ``rotate.sh`` reports, ``staged`` or ``current``, and the key."""
    marked = [line.split(" ", 1) for line in result.stdout.splitlines() if line.startswith("@@")]
    values = {fields[0].removeprefix("@@"): fields[-1].strip() for fields in marked}
    # Output of a host is untrusted: only an ed25519 key is accepted.
    for state in ("staged", "current"):
        if values.get(state, "").startswith("ssh-ed25519 "):
            return state, values[state]
    raise _RotationFailed(values.get("cannot") or "it did not report its key")


class _RotationFailed(Exception):
    """Reason why a host keeps the key of its launch."""
