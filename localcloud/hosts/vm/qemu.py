"""Command line of QEMU, and the choice between KVM and emulation."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import platform
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from localcloud.core.addresses import ENDPOINT_PORT, METADATA_ADDRESS, AddressBlock
from localcloud.hosts.interface import HostError
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.vm.image import VmImage

PROGRAM = "qemu-system-x86_64"
# QEMU's own network of each VM, in which the metadata service's address must lie.
_GATEWAY, _RESOLVER, VM_ADDRESS = "169.254.169.2", "169.254.169.3", "169.254.169.15"
_USER_NETWORK = f"net=169.254.169.0/24,host={_GATEWAY},dns={_RESOLVER},dhcpstart={VM_ADDRESS}"
_VPC_RESOLVER = "169.254.169.253"
PUBLIC = "public"
"""Id of the network that connects a VM with this computer."""

_MULTICAST_PORT = 22777
# Of a serial number, in the NVMe specification.
_SERIAL_LENGTH = 20
_MEMORY_MIB = 1024
_CORES = 2
_FILE_SERVER_MIB = 256
FILE_SERVER_GIB = 64
"""Size of an EFS file system, which has none on AWS; the file behind it takes what it holds."""

_PROBE_TIMEOUT_S = 15.0
# The kernel ends with this message if it has started as far as its disk, which the probe does not have.
_STARTED = b"Kernel panic - not syncing: VFS"
_KERNEL_OPTIONS = (
    "console=ttyS0 net.ifnames=0 panic=1 random.trust_cpu=on mitigations=off audit=0 apparmor=0 cryptomgr.notests "
    "no_timer_check nowatchdog rcupdate.rcu_expedited=1 init_on_alloc=0 "
    # Drivers of devices that a VM does not have or use: each takes seconds when emulated.
    "modprobe.blacklist=ata_piix,ata_generic,pata_acpi,floppy,psmouse,i2c_piix4,aesni_intel,ghash_clmulni_intel,"
    "sha512_ssse3,crct10dif_pclmul,crc32_pclmul,powernow_k8,acpi_cpufreq,kvm_amd"
)


@dataclass(frozen=True)
class Accelerator:
    """Execution of VMs: by the processor itself (``kvm``), or emulated.

    :param reason: reason for emulation; empty for KVM.
    """

    reason: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """Options of QEMU."""
        if not self.reason:
            return ("-accel", "kvm", "-cpu", "host")
        # The cache of translated code would take more memory than the VM.
        return ("-accel", "tcg,tb-size=256,thread=multi", "-cpu", "max")


def check() -> None:
    """Check that this computer can run VMs.

    :raises HostError: with a fix.
    """
    if platform.machine() != "x86_64":
        raise HostError(f"VMs need a computer with x86_64 processors, and this one is {platform.machine()}")
    if missing := [name for name in (PROGRAM, "qemu-img", "setpriv") if not shutil.which(name)]:
        raise HostError(
            f"VMs need {' and '.join(missing)}: sudo apt-get install qemu-system-x86 qemu-utils util-linux mmdebstrap"
        )


def choose_accelerator(image: VmImage, device: Path = Path("/dev/kvm")) -> Accelerator:
    """Return KVM if the image's kernel starts with it, otherwise emulation.

    The device alone proves nothing: inside of a VM it may exist and run no ordinary kernel.
    """
    if not device.exists():
        return Accelerator(f"there is no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return Accelerator(f"this user may not use {device}: sudo usermod -aG kvm $USER")
    argv = [PROGRAM, *_BARE, *Accelerator().options, "-m", "256", "-kernel", str(image.kernel)]
    argv += ["-append", "console=ttyS0 panic=-1", "-no-reboot", "-serial", "stdio"]
    try:
        process = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Accelerator(f"a kernel does not start with {device}")
    return Accelerator() if _STARTED in process.stdout else Accelerator(f"a kernel does not start with {device}")


_BARE = ("-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc")


@dataclass(frozen=True)
class VmFiles:
    """Files of one VM, in its host's folder."""

    folder: Path

    @property
    def disk(self) -> Path:
        """Overlay of the image's disk, kept over stop and start."""
        return self.folder / "disk.qcow2"

    @property
    def boot(self) -> Path:
        """Tar of the files that a boot unpacks."""
        return self.folder / "boot.tar"

    @property
    def content(self) -> Path:
        """Content of a file server's file system."""
        return self.folder / "content.img"

    @property
    def console(self) -> Path:
        """Output of the serial port."""
        return self.folder / "console.log"


def create_disk(image: VmImage, disk: Path) -> None:
    """Create an overlay of the image's disk.

    :raises HostError: qemu-img failed, with its message.
    """
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image.disk), str(disk)]
    process = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if process.returncode:
        raise HostError(f"cannot create {disk}: {process.stderr.strip()}")


def create_empty(path: Path, size_gib: int) -> None:
    """Create the file behind a disk unless it exists; it takes no space before something is written."""
    with path.open("ab") as file:
        if not file.tell():
            file.truncate(size_gib << 30)


def command(
    spec: HostSpec, block: AddressBlock, image: VmImage, accelerator: Accelerator, volumes: Mapping[str, Path]
) -> list[str]:
    """Return the command line of a VM, whose monitor is on standard input and output.

    :param volumes: volume id -> the file behind it.
    """
    files = VmFiles(spec.folder)
    return [
        *_machine(image, accelerator, _CORES, _MEMORY_MIB),
        *_drives(files),
        *("-smbios", _smbios(spec.instance_id)),
        *("-netdev", f"user,id={PUBLIC},{_USER_NETWORK},{_forwards(spec, block)}"),
        *("-device", f"virtio-net-pci,netdev={PUBLIC},mac={_mac(spec.address, 0)}"),
        *_private_network(block, _mac(spec.address, 1)),
        *_local_disks(spec),
        *(word for volume_id, path in volumes.items() for word in _volume(volume_id, path)),
        *("-chardev", f"file,id=console,path={_quoted(files.console)},append=on", "-serial", "chardev:console"),
        *("-monitor", "stdio"),
    ]


def file_server_command(folder: Path, block: AddressBlock, image: VmImage, accelerator: Accelerator) -> list[str]:
    """Return the command line of a file server, whose second serial port is on standard input and output."""
    files = VmFiles(folder)
    digest = hashlib.sha256(folder.name.encode()).hexdigest()
    return [
        *_machine(image, accelerator, 1, _FILE_SERVER_MIB),
        *_drives(files),
        *("-drive", f"file={_quoted(files.content)},if=virtio,format=raw,cache=unsafe,discard=unmap"),
        *_private_network(block, f"52:54:00:02:{digest[:2]}:{digest[2:4]}"),
        *("-chardev", f"file,id=console,path={_quoted(files.console)},append=on", "-serial", "chardev:console"),
        *("-serial", "stdio"),
    ]


def plug_commands(volume_id: str, path: Path) -> list[str]:
    """Return the commands of QEMU's monitor that give a running VM a volume."""
    _, drive, _, device = _volume(volume_id, path)
    return [f'drive_add 0 "{drive}"', f'device_add "{device}"']


def unplug_commands(volume_id: str) -> list[str]:
    """Return the commands of QEMU's monitor that take a volume from a running VM."""
    return [f"device_del {volume_id}", f"drive_del drive-{volume_id}"]


def _machine(image: VmImage, accelerator: Accelerator, cores: int, memory_mib: int) -> list[str]:
    return [
        # The kernel ends the VM with the thread that started it, so that none outlives a cloud that is killed.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *(PROGRAM, *_BARE, *accelerator.options, "-smp", str(cores), "-m", str(memory_mib)),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", _KERNEL_OPTIONS),
    ]


def _drives(files: VmFiles) -> list[str]:
    return [
        # Unsafe: a VM's disk need not survive a crash of this computer.
        *("-drive", f"file={_quoted(files.disk)},if=virtio,format=qcow2,cache=unsafe,discard=unmap"),
        *("-drive", f"file={_quoted(files.boot)},if=virtio,format=raw,readonly=on"),
    ]


def _private_network(block: AddressBlock, mac: str) -> list[str]:
    """Return the options for the network between the VMs of one cloud."""
    return [
        *("-netdev", f"socket,id=private,mcast=239.77.0.{block.index + 1}:{_MULTICAST_PORT},localaddr=127.0.0.1"),
        *("-device", f"virtio-net-pci,netdev=private,mac={mac}"),
    ]


def _volume(volume_id: str, path: Path) -> list[str]:
    """Return the options for an EBS volume as on Nitro: an NVMe device whose serial number is the volume's id."""
    serial = volume_id.replace("-", "")[:_SERIAL_LENGTH]
    return [
        *("-drive", f"if=none,id=drive-{volume_id},file={_quoted(path)},format=raw,cache=unsafe,discard=unmap"),
        *("-device", f"nvme,id={volume_id},drive=drive-{volume_id},serial={serial}"),
    ]


def _local_disks(spec: HostSpec) -> Iterator[str]:
    """Yield the options for the local disks of the instance type, which are found by their model.

    They are SCSI disks, because QEMU's NVMe devices cannot have another model than QEMU's.
    """
    if spec.local_disks_gib:
        yield from ("-device", "virtio-scsi-pci,id=local")
    for number, _ in enumerate(spec.local_disks_gib):
        path = local_disk(spec, number)
        yield from ("-drive", f"if=none,id=local-{number},file={_quoted(path)},format=raw,cache=unsafe,discard=unmap")
        yield from ("-device", f"scsi-hd,bus=local.0,drive=local-{number},vendor=NVMe,product=Instance Storage")


def local_disk(spec: HostSpec, number: int) -> Path:
    """Return the file behind a local disk of an instance."""
    return spec.folder / f"local-{number}.img"


def network_script(spec: HostSpec, block: AddressBlock) -> str:
    """Return the shell commands that set a VM's network up, for the initrd's program."""
    prefix = block.space.prefixlen
    commands = (
        "link set lo up",
        *("link set eth0 up", f"addr add {VM_ADDRESS}/24 dev eth0", f"route add default via {_GATEWAY}"),
        *("link set eth1 up", f"addr add {spec.address}/{prefix} dev eth1"),
    )
    return "".join(f"/bin/busybox ip {command}\n" for command in commands)


RESOLVER_CONFIG = f"nameserver {_VPC_RESOLVER}\noptions use-vc\n"
"""Settings of a VM's resolver, which asks over TCP: QEMU passes no other protocol to a program."""


def ssh_forward(address: str, port: int) -> str:
    """Return what forwards an SSH port of this computer to a VM, as options and monitor of QEMU take it."""
    return f"tcp:{address}:{port}-{VM_ADDRESS}:{port}"


def _forwards(spec: HostSpec, block: AddressBlock) -> str:
    own_address = block.local_address(spec.address)
    addresses = [block.local_address(address) for address in spec.addresses if spec.is_open(address)]
    forwards = [f"hostfwd={ssh_forward(address, spec.port)}" for address in addresses]
    relay = [sys.executable, "-IS", str(Path(__file__).with_name("relay.py"))]
    relay += [own_address, block.endpoint, str(ENDPOINT_PORT)]
    for port in (80, ENDPOINT_PORT):
        forwards.append(f"guestfwd=tcp:{METADATA_ADDRESS}:{port}-cmd:{_quoted(shlex.join(relay))}")
    resolver = [sys.executable, "-IS", str(Path(__file__).with_name("resolver.py"))]
    resolver.append(str(spec.folder.parents[1] / "filesystems/targets"))
    forwards.append(f"guestfwd=tcp:{_VPC_RESOLVER}:53-cmd:{_quoted(shlex.join(resolver))}")
    return ",".join(forwards)


def _smbios(instance_id: str) -> str:
    """Return the system information by which cloud-init recognizes EC2: serial number and UUID begin with ec2."""
    name = uuid.uuid5(uuid.NAMESPACE_OID, instance_id)
    number = "ec2" + str(name)[3:]
    return f"type=1,manufacturer=Amazon EC2,product=vm,serial={number},uuid={number}"


def _mac(address: str, interface: int) -> str:
    low = int(ipaddress.IPv4Address(address)) & 0xFFFF
    return f"52:54:00:{interface:02x}:{low >> 8:02x}:{low & 0xFF:02x}"


def _quoted(value: object) -> str:
    """Return a value inside an option of QEMU, where commas separate."""
    return str(value).replace(",", ",,")
