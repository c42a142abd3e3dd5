"""Lifecycle of VMs: real QEMU with a kernel of fifty bytes, which obeys the power button."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.core.process_tree import is_alive
from localcloud.hosts.interface import HostError
from localcloud.hosts.vm import qemu
from localcloud.hosts.vm.qemu import VmFiles
from tests.support.localcloud.tiny_kernel import kernel
from tests.support.localcloud.vm_lab import BLOCK, Lab
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not shutil.which(qemu.PROGRAM) or not shutil.which("qemu-img"),
    reason="QEMU is not installed: apt-get install qemu-system-x86 qemu-utils",
)
DEADLINE_S = 60.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.hosts.close()


def test_a_vm_stops_by_its_power_button_and_keeps_its_disk(lab: Lab) -> None:
    spec = lab.spec()
    lab.hosts.start(spec)
    wait_until(lambda: lab.boots(spec) == 1)
    (pid,) = lab.processes(spec)
    with pytest.raises(HostError, match="already on"):
        lab.hosts.start(spec)

    lab.hosts.reboot(spec.instance_id)
    wait_until(lambda: lab.boots(spec) == 2)
    assert not is_alive(pid)
    lab.hosts.stop(spec.instance_id)

    assert lab.processes(spec) == []
    overlay = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", VmFiles(spec.folder).disk]))
    assert (overlay["format"], overlay["backing-filename"]) == ("qcow2", str(lab.image.disk))
    # It was stopped from here, which is no shutdown of its own.
    assert lab.ended.empty()
    lab.hosts.start(spec)
    wait_until(lambda: lab.boots(spec) == 3)
    lab.hosts.destroy(spec.instance_id)
    assert lab.processes(spec) == []
    assert not spec.folder.exists()


def test_a_vm_that_powers_itself_off_is_reported_and_starts_again(lab: Lab) -> None:
    spec = lab.spec()
    lab.hosts.start(spec)
    wait_until(lambda: lab.boots(spec) == 1)
    lab.image.kernel.write_bytes(kernel(powers_off=True))
    lab.hosts.reboot(spec.instance_id)

    assert lab.ended.get(timeout=DEADLINE_S) == spec.instance_id
    assert lab.processes(spec) == []
    lab.image.kernel.write_bytes(kernel())
    lab.hosts.start(spec)
    wait_until(lambda: lab.boots(spec) == 3)


@pytest.mark.slow
def test_the_ssh_port_is_silent_at_addresses_that_no_group_opens(lab: Lab) -> None:
    """QEMU accepts connections to a port that it forwards, whatever answers in the VM."""
    spec = lab.spec()
    lab.hosts.start(replace(spec, open_addresses=(spec.public_address,)))
    wait_until(lambda: lab.boots(spec) == 1)
    private = BLOCK.local_address(spec.address)

    def answers() -> tuple[str, str]:
        return answer(spec.public_address), answer(private)

    assert answers() == ("open", "silent")
    lab.hosts.open_at(spec.instance_id, [spec.address])
    wait_until(lambda: answers() == ("silent", "open"))
    lab.hosts.reboot(spec.instance_id)
    wait_until(lambda: lab.boots(spec) == 2)
    assert answers() == ("silent", "open")
    lab.hosts.open_at(spec.instance_id, [spec.address, spec.public_address])
    wait_until(lambda: answers() == ("open", "open"))


def answer(address: str) -> str:
    """Return what a connection to the SSH port at an address meets: ``open``, ``silent`` or ``refused``."""
    try:
        socket.create_connection((address, 22022), 1).close()
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "refused"
    return "open"


def test_a_frozen_vm_can_be_stopped(lab: Lab) -> None:
    spec = lab.spec()
    lab.hosts.start(spec)
    wait_until(lambda: lab.boots(spec) == 1)
    (pid,) = lab.processes(spec)
    lab.hosts.freeze(spec.instance_id)
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")

    lab.hosts.stop(spec.instance_id)

    assert not is_alive(pid)


def test_all_vms_end_with_their_hosts_and_a_failed_start_is_an_end(lab: Lab) -> None:
    specs = [lab.spec(4), lab.spec(5)]
    for spec in specs:
        lab.hosts.start(spec)
    wait_until(lambda: all(lab.boots(spec) == 1 for spec in specs))
    # The port is taken by the first one.
    taken = replace(lab.spec(6), public_address=specs[0].public_address)
    lab.hosts.start(taken)
    assert lab.ended.get(timeout=DEADLINE_S) == taken.instance_id
    assert "Could not set up host forwarding" in (taken.folder / "qemu.log").read_text()

    lab.hosts.close()

    assert [lab.processes(spec) for spec in specs] == [[], []]
    with pytest.raises(HostError, match="closed"):
        lab.hosts.start(lab.spec(7))


def test_vms_end_with_a_cloud_that_is_killed(lab: Lab, tmp_path: Path) -> None:
    spec = lab.spec()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[4])!r})\n"
        "from pathlib import Path\n"
        "from tests.support.localcloud.vm_lab import Lab\n"
        f"folder = Path({str(tmp_path / 'other')!r}); folder.mkdir(); lab = Lab(folder); spec = lab.spec()\n"
        "lab.hosts.start(spec); print(spec.folder, flush=True); input()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdin is not None
    spec = replace(spec, folder=Path(owner.stdout.readline().strip()))
    wait_until(lambda: lab.boots(spec) == 1)
    (pid,) = lab.processes(spec)

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    wait_until(lambda: not is_alive(pid))
    owner.stdin.close()
    owner.stdout.close()
