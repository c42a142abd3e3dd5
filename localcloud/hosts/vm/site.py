"""Addresses and VMs of a cloud."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from localcloud.core.addresses import VM_BLOCKS, claim_loopback_block
from localcloud.core.home import Home
from localcloud.hosts.interface import HostSite
from localcloud.hosts.unresponsive_port import UnresponsivePort
from localcloud.hosts.vm import image, qemu
from localcloud.hosts.vm.disks import VmDisks
from localcloud.hosts.vm.file_servers import FileServers
from localcloud.hosts.vm.hosts import VmHosts
from localcloud.hosts.vm.image import VmImage
from localcloud.hosts.vm.qemu import Accelerator


def prepare(report: Callable[[str], None]) -> None:
    """Check that VMs can run here, and build their image, which takes longer than the daemon may.

    :param report: called with a line of progress before the image is built, and with the time that boots take.
    :raises HostError: QEMU is missing, or the image cannot be built.
    """
    qemu.check()
    vm_image = image.ensure(report)
    report(boot_time(vm_image, qemu.choose_accelerator(vm_image)))


def boot_time(vm_image: VmImage, accelerator: Accelerator) -> str:
    """Return the line that tells how long a VM boots, and what to set if that is longer than launches wait."""
    boot_s = vm_image.last_boot_s
    last = "" if boot_s is None else f"; the last boot took {boot_s} s"
    if not accelerator.reason:
        return f"VMs run with KVM{last}"
    return (
        f"VMs are emulated ({accelerator.reason}): a boot takes 2 to 10 minutes{last}; jobs are ten times slower; "
        "config file: [ssh] ready_timeout = 1800, connect_timeout = 60, [install] timeout = 7200"
    )


def open_site(home: Home, resources: ExitStack) -> HostSite:
    """Claim addresses for VMs.

    :param resources: ends the VMs when the cloud ends.
    :raises LocalCloudError: no addresses are free, or VMs cannot run here.
    """
    qemu.check()
    vm_image = image.ensure(lambda _: None)
    accelerator = qemu.choose_accelerator(vm_image)
    block, listener = claim_loopback_block(VM_BLOCKS)

    created: list[VmHosts] = []
    servers = FileServers(home.folder / "filesystems", block, vm_image, accelerator)
    resources.callback(servers.close)
    disks = VmDisks(
        home.folder,
        home.hosts_folder,
        servers,
        lambda instance_id, volume_id, path: created[0].plug(instance_id, volume_id, path),
        lambda instance_id, volume_id: created[0].unplug(instance_id, volume_id),
    )

    def make_hosts(on_shutdown: Callable[[str], None]) -> VmHosts:
        hosts = VmHosts(block, vm_image, accelerator, on_shutdown=on_shutdown)
        created.append(hosts)
        resources.callback(hosts.close)
        return hosts

    def open_unresponsive_port(address: str, port: int, accepts: bool) -> UnresponsivePort:
        return UnresponsivePort(block.local_address(address), port, accepts)

    return HostSite(block, listener, make_hosts, home.console, open_unresponsive_port, disks=disks)
