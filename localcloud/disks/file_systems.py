"""EFS and FSx for Lustre: moto's backends, with the states that moto leaves out, and folders behind them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from moto.efs import urls as efs_urls
from moto.efs.models import EFSBackend, efs_backends
from moto.efs.responses import EFSResponse
from moto.fsx import urls as fsx_urls
from moto.fsx.models import FileSystem, FSxBackend, fsx_backends

from localcloud.aws.error_responses import ApiError
from localcloud.core.disk_folders import DiskFolders
from localcloud.ec2.environment import CloudEnvironment

# In multiples of the time of an instance in pending, 17 s: a mount target takes 90 s. A Lustre file system takes seven
# minutes; here it takes two.
_TARGET_PENDING, _LUSTRE_PENDING = 5.0, 8.0


def install(environment: CloudEnvironment, disks: DiskFolders) -> None:
    """Replace moto's backends of both services by those of a cloud."""
    targets: Any = (efs_backends, fsx_backends)
    targets[0].backend = functools.partial(Efs, environment=environment, disks=disks)
    targets[1].backend = functools.partial(Fsx, environment=environment, disks=disks)


def _after(environment: CloudEnvironment, pending: float, action: Callable[[], None]) -> None:
    def run() -> None:
        with environment.lock:
            action()

    environment.clock.after(pending * environment.durations.pending_s, run)


def _check(disks: DiskFolders, kind: str) -> None:
    if refusal := disks.refusal(kind):
        raise ApiError("BadRequest", refusal)


class EfsApi(EFSResponse):
    """moto's answers; any caller is permitted everything."""

    def _authenticate_and_authorize_normal_action(self, resource: str = "*") -> None:
        # moto computes another signature than botocore for calls of REST services with arguments in their paths.
        del resource


class Efs(EFSBackend):
    """EFS of one region. Every method is called with the cloud's lock held."""

    # moto looks for it beside the module of the class.
    _url_module = SimpleNamespace(
        url_bases=efs_urls.url_bases, url_paths=dict.fromkeys(efs_urls.url_paths, EfsApi.dispatch)
    )

    def __init__(self, region_name: str, account_id: str, *, environment: CloudEnvironment, disks: DiskFolders) -> None:
        super().__init__(region_name, account_id)
        self._environment, self._disks = environment, disks

    def create_file_system(self, *args: Any, **options: Any) -> Any:
        """Create a file system, dated by the cloud's clock."""
        _check(self._disks, "EFS")
        file_system = super().create_file_system(*args, **options)
        file_system.creation_time = self._environment.clock.utc().timestamp()
        self._disks.make_shared(file_system.file_system_id)
        return file_system

    def delete_file_system(self, file_system_id: str) -> None:
        """Delete a file system with its content."""
        super().delete_file_system(file_system_id)
        self._disks.delete_shared(file_system_id)

    def create_mount_target(self, *args: Any, **options: Any) -> Any:
        """Create a mount target, which is available after some time."""
        target = super().create_mount_target(*args, **options)
        target.life_cycle_state = "creating"

        def complete() -> None:
            target.life_cycle_state = "available"
            if target.mount_target_id in self.mount_targets_by_id:
                self._disks.add_target(target.ip_address, target.file_system_id)

        _after(self._environment, _TARGET_PENDING, complete)
        return target

    def delete_mount_target(self, mount_target_id: str) -> None:
        """Delete a mount target."""
        target = self.mount_targets_by_id.get(mount_target_id)
        super().delete_mount_target(mount_target_id)
        if target is not None:
            self._disks.remove_target(target.ip_address)


class LustreFileSystem(FileSystem):
    """A file system with the fields that moto leaves out."""

    lifecycle: str
    creation_time: float
    client_request_token: str

    def to_dict(self) -> dict[str, Any]:
        """Return the file system as DescribeFileSystems does."""
        lustre = {**(self.lustre_configuration or {}), "MountName": self.file_system_id.removeprefix("fs-")}
        facts = {"Lifecycle": self.lifecycle, "CreationTime": self.creation_time, "LustreConfiguration": lustre}
        return {**super().to_dict(), **facts}


class Fsx(FSxBackend):
    """FSx of one region; Lustre only."""

    _url_module = fsx_urls

    def __init__(self, region_name: str, account_id: str, *, environment: CloudEnvironment, disks: DiskFolders) -> None:
        super().__init__(region_name, account_id)
        self._environment, self._disks = environment, disks

    def create_file_system(self, *args: Any, **options: Any) -> Any:
        """Create a file system, which is available after some time; a repeated request is answered with the first's."""
        token = options["client_request_token"]
        for existing in self.file_systems.values():
            if token and getattr(existing, "client_request_token", None) == token:
                return existing
        _check(self._disks, "Lustre")
        file_system: Any = super().create_file_system(*args, **options)
        file_system.__class__ = LustreFileSystem
        file_system.client_request_token = token
        file_system.lifecycle = "CREATING"
        file_system.creation_time = self._environment.clock.utc().timestamp()
        self._disks.make_shared(file_system.file_system_id)

        def complete() -> None:
            file_system.lifecycle = "AVAILABLE"

        _after(self._environment, _LUSTRE_PENDING, complete)
        return file_system

    def delete_file_system(self, file_system_id: str, *args: Any, **options: Any) -> Any:
        """Delete a file system with its content."""
        answer = super().delete_file_system(file_system_id, *args, **options)
        self._disks.delete_shared(file_system_id)
        return answer
