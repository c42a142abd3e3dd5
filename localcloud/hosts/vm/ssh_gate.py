"""SSH port of a VM: open or silent at each of its addresses, by the rules of its security groups."""

from __future__ import annotations

import errno
import time
from typing import IO

from localcloud.core.addresses import AddressBlock
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.unresponsive_port import UnresponsivePort
from localcloud.hosts.vm import qemu

# QEMU frees a port when it has read the command.
_RELEASE_TIMEOUT_S, _PAUSE_S = 10.0, 0.05


class SshGate:
    """Ports of one VM that are silent; QEMU forwards the others. Used on the VM's own thread only."""

    def __init__(self, block: AddressBlock) -> None:
        self._block = block
        self._silent: dict[str, UnresponsivePort] = {}

    def prepare(self, spec: HostSpec) -> None:
        """Take the ports that are to be silent, before QEMU takes the others."""
        self.close()
        for address in spec.addresses:
            if not spec.is_open(address):
                self._silence(self._block.local_address(address), spec.port)

    def update(self, spec: HostSpec, monitor: IO[bytes]) -> None:
        """Open and close the port of a VM that runs; open connections stay.

        :param monitor: input of QEMU's monitor.
        :raises OSError: QEMU has ended, or it is suspended and does not free a port.
        """
        for address in spec.addresses:
            local_address, is_silent = self._block.local_address(address), not spec.is_open(address)
            if is_silent == (local_address in self._silent):
                continue
            if is_silent:
                _command(monitor, f"hostfwd_remove {qemu.PUBLIC} tcp:{local_address}:{spec.port}")
                self._silence(local_address, spec.port)
            else:
                self._silent.pop(local_address).close()
                _command(monitor, f"hostfwd_add {qemu.PUBLIC} {qemu.ssh_forward(local_address, spec.port)}")

    def close(self) -> None:
        """Free the ports."""
        while self._silent:
            self._silent.popitem()[1].close()

    def _silence(self, address: str, port: int) -> None:
        deadline = time.monotonic() + _RELEASE_TIMEOUT_S
        while True:
            try:
                self._silent[address] = UnresponsivePort(address, port, accepts=False)
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE_S)


def _command(monitor: IO[bytes], text: str) -> None:
    monitor.write(text.encode() + b"\n")
    monitor.flush()
