"""Disks and shared file systems of an instance, mounted on its host by one command."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.aws.disks import file_systems, volumes
from orchestrator.aws.disks.mounts import KEEP, LOCAL, VOLUME, Mount
from orchestrator.aws.ec2 import security_groups
from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError, StratusError
from orchestrator.core.events import Event

if TYPE_CHECKING:
    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.cluster.context import ClusterContext
    from orchestrator.core.host import Host

TIMEOUT_S = 900.0
"""For all mounts of a host; the client of a file system may have to be installed."""


class HostDisks:
    """Attaches and mounts what the tags of instances say; safe to use from many threads."""

    def __init__(self, context: ClusterContext) -> None:
        self.context = context
        # Two hosts must not get the same volume, and a zone gets one mount target.
        self._lock = threading.Lock()
        self._mounted: set[str] = set()

    def mount(self, host: Host, instance: Instance) -> None:
        """Mount everything on a host; once in this process.

        :raises HostError: a disk could not be mounted.
        """
        mounts = instance.disks.mounts
        if not mounts or instance.id in self._mounted:
            return
        try:
            with self._lock:
                attached = self._attach(instance)
                self._name_kept(instance, attached)
            script_words = [word for mount in mounts for word in self._words(mount, instance, attached)]
        except HostError:
            raise
        except StratusError as error:
            raise HostError(f"disks: {error.message}", where=host.name, code=error.code, fix=error.fix) from error
        self._run(host, script_words)
        self._mounted.add(instance.id)

    def _run(self, host: Host, script_words: Sequence[str]) -> None:
        command = remote_scripts.inline_command("disks.sh", *script_words)
        result = self.context.ssh.run(host, command, timeout_s=TIMEOUT_S)
        lines = result.stdout.splitlines()
        for line in lines:
            if line.startswith("@@note "):
                text = f"{host.name}: {_printable(line.removeprefix('@@note '))}"
                self.context.on_event(Event("", "disks", "warning", text=text))
        if result.ok:
            return
        advice = [line.removeprefix("@@fix ") for line in lines if line.startswith("@@fix ")]
        plain = [line for line in lines if line and not line.startswith("@@")] or result.stderr.splitlines()
        reason = _printable(plain[-1]) if plain else "no output"
        raise HostError(f"disks: {reason}", where=host.name, fix=_printable(advice[-1]) if advice else "")

    # -- volumes

    def _attach(self, instance: Instance) -> dict[str, str]:
        """Attach the volumes that existed before the instance; return device -> volume id of all."""
        attached = dict(instance.disks.volume_ids or {})
        for mount in instance.disks.mounts:
            if mount.kind == VOLUME and mount.source not in attached:
                volume_id = mount.volume_id or self._kept_volume(mount, instance)
                self.context.on_event(Event(instance.name, "disks", "progress", text=f"attaching {volume_id}"))
                volumes.attach(self.context.clients, volume_id, instance.id, mount.source)
                attached[mount.source] = volume_id
        return attached

    def _kept_volume(self, mount: Mount, instance: Instance) -> str:
        candidates = [
            record.id
            for record in volumes.of_cluster(self.context.clients, self.context.cluster_id)
            if (record.name, record.zone, record.state) == (mount.name, instance.zone, "available")
        ]
        if not candidates:
            raise StratusError(
                f"no volume of {mount.name} is left in {instance.zone}", fix="launch again: it makes a new one"
            )
        return candidates[0]

    def _name_kept(self, instance: Instance, attached: dict[str, str]) -> None:
        """Tag new volumes that are kept with their names, by which the next launch finds them."""
        keeping = [mount for mount in instance.disks.mounts if KEEP in mount.options]
        names = {attached[mount.source]: mount.name for mount in keeping if mount.source in attached}
        if names:
            volumes.name(self.context.clients, names)

    # -- arguments of the script

    def _words(self, mount: Mount, instance: Instance, attached: dict[str, str]) -> Iterator[str]:
        if mount.kind == VOLUME:
            yield from (VOLUME, mount.name, f"{mount.source},{attached[mount.source]}", mount.path, "auto", "defaults")
        elif mount.kind == LOCAL:
            yield from (LOCAL, mount.name, "-", mount.path, "auto", "defaults")
        else:
            is_own = self._files_group(instance) != ""
            with self._lock:
                source = file_systems.source(
                    self.context.clients,
                    mount,
                    subnet_id=instance.disks.subnet_id,
                    zone=instance.zone,
                    group_id=self._files_group(instance) if self._is_made(mount) else "",
                )
            options = ("new," if is_own and self._is_made(mount) else "") + file_systems.mount_options(mount)
            yield from ("shared", mount.name, source, mount.path, file_systems.FSTAB_TYPES[mount.kind], options)

    def _is_made(self, mount: Mount) -> bool:
        """Return True for a file system that the cluster has made: no other gets mount targets or another owner."""
        own = file_systems.of_cluster(self.context.clients, mount.kind, self.context.cluster_id)
        return mount.file_system_id in {record.id for record in own}

    def _files_group(self, instance: Instance) -> str:
        groups = security_groups.find_files_groups(self.context.clients, self.context.cluster_id)
        return next((group["GroupId"] for group in groups if group["GroupId"] in instance.group_ids), "")


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)[:500]
