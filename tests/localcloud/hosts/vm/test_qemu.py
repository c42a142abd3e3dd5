"""Command line of a VM, files of its boot, its way to the cloud, and the choice of KVM; most of it needs no QEMU."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.core.addresses import VM_BLOCKS
from localcloud.hosts.interface import HostError
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.vm import boot_files, image, qemu, relay, resolver, site
from localcloud.hosts.vm.hosts import await_ssh
from localcloud.hosts.vm.image import VmImage
from localcloud.hosts.vm.qemu import Accelerator

BLOCK = VM_BLOCKS[1]


def spec(folder: Path) -> HostSpec:
    environment = {"AWS_ENDPOINT_URL": "http://127.77.16.1:4566", "AWS_REGION": "us-west-2"}
    return HostSpec(
        "i-1", "172.30.16.4", 22022, folder, "ubuntu", environment=environment, public_address="127.78.16.9"
    )


def options(folder: Path, accelerator: Accelerator) -> dict[str, list[str]]:
    """Return the values of each option of QEMU."""
    return values_of(qemu.command(spec(folder), BLOCK, VmImage(folder), accelerator, {}))


def values_of(line: list[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in itertools.pairwise(line):
        if name.startswith("-"):
            values.setdefault(name, []).append(value)
    return values


def test_a_vm_is_reached_at_its_public_address_and_asks_the_cloud_from_an_address_of_its_own(tmp_path: Path) -> None:
    public, private = options(tmp_path, Accelerator())["-netdev"]

    assert "hostfwd=tcp:127.78.16.9:22022-169.254.169.15:22022" in public
    for port in (80, 4566):
        assert f"guestfwd=tcp:169.254.169.254:{port}-cmd:{sys.executable} -IS {relay.__file__}" in public
    assert "relay.py 127.77.16.4 127.77.16.1 4566,guestfwd=tcp:169.254.169.253:53-cmd:" in public
    assert public.endswith(f"resolver.py {tmp_path.parents[1]}/filesystems/targets")
    assert private == "socket,id=private,mcast=239.77.0.2:22777,localaddr=127.0.0.1"
    macs = [device.rpartition("=")[2] for device in options(tmp_path, Accelerator())["-device"]]
    assert macs == ["52:54:00:00:10:04", "52:54:00:01:10:04"]


def test_cloud_init_recognizes_ec2_by_serial_number_and_uuid(tmp_path: Path) -> None:
    (smbios,) = options(tmp_path, Accelerator())["-smbios"]
    values = dict(item.split("=", 1) for item in smbios.split(","))

    # cloudinit/sources/DataSourceEc2.py, identify_aws
    assert values["uuid"].startswith("ec2")
    assert values["uuid"] == values["serial"]
    assert values["manufacturer"] == "Amazon EC2"


def test_folders_with_commas_are_quoted(tmp_path: Path) -> None:
    drives = options(tmp_path / "a,b", Accelerator())["-drive"]

    assert drives[0].startswith(f"file={tmp_path}/a,,b/disk.qcow2,if=virtio,format=qcow2,cache=unsafe")


def test_emulation_bounds_its_memory(tmp_path: Path) -> None:
    assert options(tmp_path, Accelerator("no KVM"))["-accel"] == ["tcg,tb-size=256,thread=multi"]
    assert options(tmp_path, Accelerator())["-accel"] == ["kvm"]


def test_kvm_is_taken_only_if_a_kernel_boots_with_it(tmp_path: Path) -> None:
    device, vm_image = tmp_path / "kvm", VmImage(tmp_path)
    vm_image.kernel.write_bytes(b"no kernel")

    assert qemu.choose_accelerator(vm_image, device).reason == f"there is no {device}"
    if not shutil.which(qemu.PROGRAM):
        pytest.skip("QEMU is not installed: apt-get install qemu-system-x86")
    # A file that proves nothing: what it stands in for runs no kernel.
    device.touch()
    assert qemu.choose_accelerator(vm_image, device).reason == f"a kernel does not start with {device}"


def test_the_time_of_a_boot_and_the_reason_for_emulation_are_told(tmp_path: Path) -> None:
    vm_image = VmImage(tmp_path)

    assert site.boot_time(vm_image, Accelerator()) == "VMs run with KVM"
    vm_image.note_boot(316.2)
    assert site.boot_time(vm_image, Accelerator()) == "VMs run with KVM; the last boot took 316 s"
    line = site.boot_time(vm_image, Accelerator("there is no /dev/kvm"))
    assert line.startswith(
        "VMs are emulated (there is no /dev/kvm): a boot takes 2 to 10 minutes; the last boot took 316 s;"
    )


def test_a_boot_brings_the_login_user_the_network_and_the_way_to_the_cloud(tmp_path: Path) -> None:
    archive = boot_files.archive(spec(tmp_path), BLOCK, {"https_proxy": "http://proxy:3128"})
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member).read().decode() for member in tar}  # type: ignore[union-attr]

    assert "addr add 172.30.16.4/16 dev eth1" in files["etc/localcloud/network"]
    assert 'AWS_ENDPOINT_URL="http://169.254.169.254:4566"' in files["etc/environment"]
    assert "169.254.169.254,172.30.16.4" in files["etc/environment"]
    assert '"name": "ubuntu"' in files["etc/cloud/cloud.cfg.d/95-localcloud.cfg"]
    assert files["etc/ssh/sshd_config.d/50-localcloud.conf"] == "Port 22022\n"
    assert "172.30.16.4 ip-172-30-16-4" in files["etc/hosts"]
    assert files["etc/resolv.conf"] == "nameserver 169.254.169.253\noptions use-vc\n"


def test_volumes_are_nvme_devices_with_their_id_as_serial_number(tmp_path: Path) -> None:
    volumes = {"vol-0123456789abcdef0": tmp_path / "a,b/content.img"}
    found = values_of(qemu.command(spec(tmp_path), BLOCK, VmImage(tmp_path), Accelerator(), volumes))

    device = "nvme,id=vol-0123456789abcdef0,drive=drive-vol-0123456789abcdef0,serial=vol0123456789abcdef0"
    assert found["-device"][-1] == device
    plug = qemu.plug_commands("vol-0123456789abcdef0", tmp_path / "a,b/content.img")
    assert plug == [f'drive_add 0 "{found["-drive"][-1]}"', f'device_add "{device}"']
    assert f"file={tmp_path}/a,,b/content.img," in plug[0]


def test_local_disks_have_the_model_of_instance_storage(tmp_path: Path) -> None:
    with_disks = replace(spec(tmp_path), local_disks_gib=(125, 125))
    devices = values_of(qemu.command(with_disks, BLOCK, VmImage(tmp_path), Accelerator(), {}))["-device"]

    assert [device for device in devices if "product=Instance Storage" in device] == devices[-2:]


@pytest.mark.parametrize(
    ("name", "kind", "addresses"),
    [
        ("fs-0a1b.efs.us-west-2.amazonaws.com", 1, ["172.30.16.9"]),
        ("us-west-2a.fs-0a1b.efs.us-west-2.amazonaws.com", 1, ["172.30.16.9"]),
        ("fs-0a1b.efs.us-west-2.amazonaws.com", 28, []),
        ("fs-ffff.efs.us-west-2.amazonaws.com", 1, []),
        ("127.77.255.250", 1, ["127.77.255.250"]),
        ("name.invalid", 1, []),
    ],
)
def test_the_resolver_of_vms_knows_mount_targets(tmp_path: Path, name: str, kind: int, addresses: list[str]) -> None:
    (tmp_path / "172.30.16.9").write_text("fs-0a1b\n")
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)
    # Without the additional record of EDNS.
    answer = resolver.respond(question + b"\0\0\x29", tmp_path)

    number, flags, questions, count = struct.unpack("!HHHH", answer[:8])
    records = answer[len(question) :]
    assert (number, questions, count) == (7, 1, len(addresses))
    assert [socket.inet_ntoa(records[end - 4 : end]) for end in range(16, len(records) + 1, 16)] == addresses
    assert (flags & 0xF == 0) == (bool(addresses) or kind != 1)


def test_the_relay_passes_both_directions_on_until_both_have_ended() -> None:
    with socket.create_server(("127.77.255.250", 0)) as cloud:
        vm, program = socket.socketpair()
        argv = [sys.executable, "-IS", str(relay.__file__), "127.77.255.251", *map(str, cloud.getsockname())]
        process = subprocess.Popen(argv, stdin=program.fileno())
        program.close()
        connection, (source, _) = cloud.accept()
        with connection, vm:
            vm.sendall(b"question")
            vm.shutdown(socket.SHUT_WR)
            assert connection.makefile("rb").read() == b"question"
            connection.sendall(b"answer")
            connection.shutdown(socket.SHUT_WR)
            assert vm.makefile("rb").read() == b"answer"
        assert source == "127.77.255.251"
        assert process.wait(30) == 0


@pytest.mark.slow
def test_a_slow_ssh_server_gets_one_connection_at_a_time() -> None:
    with ExitStack() as resources:
        vm = resources.enter_context(subprocess.Popen(["sleep", "60"]))
        pool = resources.enter_context(ThreadPoolExecutor(1))
        server = resources.enter_context(socket.create_server(("127.77.255.250", 0)))
        resources.callback(vm.kill)
        address, port = server.getsockname()
        answer = pool.submit(await_ssh, address, port, vm)
        connection = resources.enter_context(server.accept()[0])
        # An emulated server forks and waits for seconds; a second connection would count against its limit.
        server.settimeout(2.5)
        with pytest.raises(TimeoutError):
            server.accept()
        connection.sendall(b"SSH-2.0-x\r\n")
        assert answer.result(30) is True


def test_a_computer_without_qemu_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(HostError, match=r"^VMs need qemu-system-x86_64 .*: sudo apt-get install qemu-system-x86 qemu"):
        site.prepare(lambda _: None)


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of mmdebstrap, to be written."""
    program = tmp_path / "bin/mmdebstrap"
    program.parent.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "my cache"))
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def test_a_missing_builder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(HostError, match=r"sudo apt-get install mmdebstrap$"):
        image.ensure(lambda _: None)


def test_a_failed_build_is_one_line_and_leaves_no_image(tmp_path: Path, builder: Path) -> None:
    write_program(builder, "echo 'I: x' >&2; echo 'E: no mirror' >&2; echo 'E: mmdebstrap failed' >&2; exit 1\n")

    with pytest.raises(HostError, match=r"cannot be built: E: no mirror; E: mmdebstrap failed$"):
        image.ensure(lambda _: None, user_id=0)

    assert list((tmp_path / "my cache/stratus").iterdir()) == []


def test_another_user_than_root_gets_the_command_that_builds_the_image(tmp_path: Path, builder: Path) -> None:
    # The last argument of the hook is the folder of the image.
    hook = 'eval "set -- $word"; touch "$4/disk.img"'
    write_program(builder, f"for word; do case $word in *customize-hook*) {hook};; esac; done\n")
    with pytest.raises(HostError) as caught:
        image.ensure(lambda _: None, user_id=1000)
    command = str(caught.value).partition("once: ")[2]
    write_program(builder.with_name("sudo"), 'exec "$@"\n')
    if os.geteuid() != 0:
        pytest.skip("needs root, which sudo grants on a computer of a user")

    subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL, timeout=60)

    assert image.ensure(lambda _: None, user_id=1000).folder.parent == tmp_path / "my cache/stratus"
