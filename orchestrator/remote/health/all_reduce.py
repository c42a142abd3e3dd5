"""An all-reduce over the hosts of a mesh, which measures the connections between them; runs on the VMs.

    python all_reduce.py lead SECONDS                        on the first host: starts the modes below on all
    python all_reduce.py nccl                                prints a Python that can use NCCL here, or why not
    python all_reduce.py ring RANK SECONDS ADDRESS...        one host of a ring over TCP: standard library only
    python all_reduce.py run-nccl RANK SECONDS ADDRESS...    one host's GPUs: torchrun with nccl.py

Lines that the first host prints: "@@link FROM TO BYTES SECONDS" of the connection between two hosts of the ring,
"@@reduce BACKEND BYTES ROUNDS SECONDS PROCESSES" of the all-reduce, "@@broken NAME WHY" of a host that does not take
part to the end, "@@no-nccl NAME WHY" where NCCL cannot be used.

A ring has the traffic of an all-reduce by any library: each host sends to the next what it has added to what it got.
Here only the beginning of each block is added up, and checked: Python would be slower than the network.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mesh
from interface import interface_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

STREAMS = 4
"""Connections between two hosts: EC2 limits one to 5 Gbit/s outside of a placement group."""

BLOCK_BYTES, SUM_BYTES, LANE_BYTES = 4 << 20, 4096, 8
CONNECT_S, STALL_S, GRACE_S = 30.0, 25.0, 5.0
PROBE_S, NCCL_START_S = 60.0, 90.0
RING_SHARE = 0.25
"""Of the time, when NCCL follows: the ring names hosts, NCCL measures GPUs."""

SELF = '"$STRATUS_FOLDER/bin/health/all_reduce.py"'
PYTHON = f'exec sh "$STRATUS_FOLDER/bin/python.sh" {SELF}'


def say(*words: object) -> None:
    """Print a line in one piece: several processes share the output."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


# -- one host of the ring


class Ring:
    """This host's connections to the next one and from the previous one."""

    def __init__(self, folder: Path, rank: int, addresses: Sequence[str]) -> None:
        self.folder, self.rank, self.size = folder, rank, len(addresses)
        self.own, self.next = addresses[rank], addresses[(rank + 1) % len(addresses)]
        # The run's even port; the mesh has the odd one after it.
        self.port = mesh.port(folder) - 1
        self.listener = socket.create_server((self.own, self.port), backlog=4 * STREAMS)
        self.listener.settimeout(CONNECT_S)

    def connect(self) -> tuple[list[socket.socket], list[socket.socket]]:
        """Return connections to the next host, and from the previous one.

        :raises OSError: there is none in time.
        """
        with ThreadPoolExecutor(1) as pool:
            accepting = pool.submit(lambda: [self._accept() for _ in range(STREAMS)])
            outgoing = [self._dial() for _ in range(STREAMS)]
            return outgoing, accepting.result(2 * CONNECT_S + STALL_S)

    def _accept(self) -> socket.socket:
        plain = self.listener.accept()[0]
        return self._authenticated(plain, ssl.PROTOCOL_TLS_SERVER)

    def _dial(self) -> socket.socket:
        deadline, error = time.monotonic() + CONNECT_S, OSError("no time to connect")
        while time.monotonic() < deadline:
            try:
                plain = socket.create_connection((self.next, self.port), timeout=CONNECT_S)
                return self._authenticated(plain, ssl.PROTOCOL_TLS_CLIENT)
            except OSError as failure:
                error = failure
                time.sleep(0.1)
        raise error

    def _authenticated(self, plain: socket.socket, purpose: int) -> socket.socket:
        """Return a connection after both sides have shown the run's certificate: without TLS from then on.

        What is sent is no secret, and encryption would be what is measured.
        """
        plain.settimeout(STALL_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        is_server = purpose == ssl.PROTOCOL_TLS_SERVER
        return mesh.context(self.folder, purpose).wrap_socket(plain, server_side=is_server).unwrap()


def send_for(connection: socket.socket, seconds: float) -> None:
    """Send as fast as possible for some seconds."""
    block, end = bytes(BLOCK_BYTES // STREAMS), time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)


def count(connection: socket.socket) -> int:
    """Return how many bytes arrive until the other host has sent all."""
    buffer, total = bytearray(BLOCK_BYTES // STREAMS), 0
    while received := connection.recv_into(buffer):
        total += received
    return total


def measure_link(ring: Ring, seconds: float) -> tuple[int, float]:
    """Send to the next host while the previous one sends; return bytes received, and seconds."""
    outgoing, incoming = ring.connect()
    began = time.monotonic()
    with ThreadPoolExecutor(2 * STREAMS) as pool:
        sends = [pool.submit(send_for, connection, seconds) for connection in outgoing]
        total = sum(pool.map(count, incoming))
        taken_s = time.monotonic() - began
        for send in sends:
            send.result(STALL_S)
    for connection in (*outgoing, *incoming):
        connection.close()
    return total, taken_s


class Blocks:
    """The blocks of an all-reduce, and their way around the ring."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.outgoing, self.incoming = ring.connect()
        self.pool = ThreadPoolExecutor(2 * STREAMS)
        own = (ring.rank + 1).to_bytes(LANE_BYTES, "little")
        self.size = min(BLOCK_BYTES, (64 << 20) // ring.size // SUM_BYTES * SUM_BYTES)
        self.blocks = [bytearray(self.size) for _ in range(ring.size)]
        self.contribution = own * (SUM_BYTES // LANE_BYTES)
        total = ring.size * (ring.size + 1) // 2
        self.expected = total.to_bytes(LANE_BYTES, "little") * (SUM_BYTES // LANE_BYTES)
        self.spare = bytearray(self.size)

    def _exchange(self, sent: bytearray, received: bytearray) -> None:
        part = self.size // STREAMS
        jobs: list[Future[None]] = []
        for number in range(STREAMS):
            first, last = number * part, (number + 1) * part if number < STREAMS - 1 else self.size
            jobs.append(self.pool.submit(self.outgoing[number].sendall, memoryview(sent)[first:last]))
            jobs.append(self.pool.submit(read_into, self.incoming[number], memoryview(received)[first:last]))
        for job in jobs:
            job.result(2 * STALL_S)

    def reduce(self) -> bool:
        """Do one all-reduce; return True if the sums are right."""
        size, rank = self.ring.size, self.ring.rank
        for block in self.blocks:
            block[:SUM_BYTES] = self.contribution
        for step in range(size - 1):
            target = (rank - step - 1) % size
            self._exchange(self.blocks[(rank - step) % size], self.spare)
            added = int.from_bytes(self.spare[:SUM_BYTES], "little")
            added += int.from_bytes(self.blocks[target][:SUM_BYTES], "little")
            self.blocks[target][:SUM_BYTES] = added.to_bytes(SUM_BYTES + 1, "little")[:SUM_BYTES]
        for step in range(size - 1):
            self._exchange(self.blocks[(rank - step + 1) % size], self.blocks[(rank - step) % size])
        return all(block[:SUM_BYTES] == self.expected for block in self.blocks)

    def agree(self, number: int) -> int:
        """Return the first host's number on all hosts."""
        data = number.to_bytes(8, "big")
        if self.ring.rank:
            buffer = bytearray(8)
            read_into(self.incoming[0], memoryview(buffer))
            data = bytes(buffer)
        if self.ring.rank < self.ring.size - 1:
            self.outgoing[0].sendall(data)
        return int.from_bytes(data, "big")


def read_into(connection: socket.socket, target: memoryview) -> None:
    """Fill a buffer.

    :raises OSError: the connection ends before.
    """
    while target:
        received = connection.recv_into(target)
        if not received:
            raise ConnectionError("closed the connection")
        target = target[received:]


def run_ring(folder: Path, rank: int, seconds: float, addresses: Sequence[str]) -> int:
    """Measure the connection from the previous host, then an all-reduce; return the exit status."""
    names = member_names(folder)
    own, previous = names[addresses[rank]], names[addresses[rank - 1]]
    try:
        ring = Ring(folder, rank, addresses)
        total, taken_s = measure_link(ring, seconds / 2)
        say("@@link", previous, own, total, f"{taken_s:.6f}")
        blocks = Blocks(ring)
        # The first one begins when the last host is there.
        is_right = blocks.reduce()
        began = time.monotonic()
        is_right = blocks.reduce() and is_right
        rounds = blocks.agree(max(1, int(seconds / 2 / max(1e-6, time.monotonic() - began))))
        began = time.monotonic()
        for _ in range(rounds):
            is_right = blocks.reduce() and is_right
        if not rank:
            taken_s = time.monotonic() - began
            say("@@reduce", "TCP", blocks.size * len(addresses), rounds, f"{taken_s:.6f}", len(addresses))
        if not is_right:
            say("@@broken", own, "got wrong sums: data was changed between the VMs")
        return 0 if is_right else 1
    except OSError as error:
        why = f"no data for {STALL_S:.0f} s" if isinstance(error, socket.timeout) else str(error)
        say(f"@@stopped {own} {why}")
        return 1


# -- the first host


def member_names(folder: Path) -> dict[str, str]:
    """Return address -> name of the hosts."""
    lines = (folder / "mesh/members").read_text().splitlines()
    return {address: name for name, address in map(str.split, lines)}


def run_on_all(commands: dict[str, str], timeout_s: float) -> dict[str, tuple[int, list[str]]]:
    """Run a command on each host at the same time; return address -> exit status and lines.

    When one fails, the others have some seconds left: they wait for it.

    :param commands: address -> shell command.
    """
    processes = {
        address: subprocess.Popen(["ssh", address, command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for address, command in commands.items()
    }
    lines: dict[str, list[str]] = {address: [] for address in commands}

    def read(address: str) -> None:
        stream = processes[address].stdout
        assert stream is not None
        lines[address] += [line.decode(errors="replace").rstrip("\n") for line in stream]

    readers = [threading.Thread(target=read, args=(address,), daemon=True) for address in commands]
    for reader in readers:
        reader.start()
    end = time.monotonic() + timeout_s
    hurried = False
    late: set[str] = set()
    while running := [address for address, process in processes.items() if process.poll() is None]:
        if not hurried and any(process.returncode for process in processes.values()):
            hurried, end = True, min(end, time.monotonic() + GRACE_S)
        if time.monotonic() > end:
            late.update(running)
            for address in running:
                processes[address].kill()
        time.sleep(0.05)
    for reader in readers:
        reader.join(GRACE_S)
    statuses = {address: -1 if address in late else process.returncode for address, process in processes.items()}
    return {address: (statuses[address], lines[address]) for address in commands}


def show(names: dict[str, str], results: dict[str, tuple[int, list[str]]]) -> bool:
    """Print the marked lines of all hosts, and name those that are lost; return True if all have ended well."""
    for address, (status, lines) in results.items():
        for line in lines:
            if line.startswith("@@"):
                say(line)
        if status == mesh.LOST:
            why = lines[-1].removeprefix(f"ssh: {address}").lstrip(": ") if lines else "it does not answer"
            say("@@broken", names[address], why)
    return all(status == 0 for status, _ in results.values())


def lead(folder: Path, seconds: float) -> int:
    """Measure over all hosts of the mesh; return the exit status."""
    names = member_names(folder)
    addresses = [entry.rpartition(":")[0] for entry in os.environ["STRATUS_HOST_SLOTS"].split(",")]
    pythons = probe(names, addresses)
    if len(addresses) > 1:
        share = seconds * RING_SHARE if pythons else seconds
        arguments = shlex.join([f"{share:g}", *addresses])
        commands = {address: f"{PYTHON} ring {rank} {arguments}" for rank, address in enumerate(addresses)}
        if not show(names, run_on_all(commands, share * 2 + CONNECT_S + 2 * STALL_S)):
            return 1
    if not pythons:
        return 0
    budget_s = seconds * (1 - RING_SHARE)
    arguments = shlex.join([f"{budget_s:g}", *addresses])
    commands = {
        address: f"exec {shlex.quote(pythons[address])} {SELF} run-nccl {rank} {arguments}"
        for rank, address in enumerate(addresses)
    }
    return 0 if show(names, run_on_all(commands, budget_s * 2 + NCCL_START_S)) else 1


# -- NCCL


def probe(names: dict[str, str], addresses: Sequence[str]) -> dict[str, str]:
    """Return address -> Python with torch and NCCL; empty unless all hosts have one, and why not is printed."""
    results = run_on_all(dict.fromkeys(addresses, f"{PYTHON} nccl"), PROBE_S)
    pythons: dict[str, str] = {}
    for address, (status, lines) in results.items():
        answer = lines[-1] if lines else ""
        if status == 0 and answer.startswith("/"):
            pythons[address] = answer
        else:
            say("@@no-nccl", names[address], answer if status == 0 and answer else "does not answer")
    return pythons if len(pythons) == len(addresses) else {}


HAS_NCCL = """
import torch, torch.distributed as d
print("yes" if torch.cuda.is_available() and d.is_nccl_available() else "torch here has no CUDA or no NCCL")
"""


def find_nccl() -> str:
    """Return the path of a Python whose torch has NCCL and finds a GPU, or why there is none."""
    # Importing torch takes seconds.
    gpus = subprocess.run(["sh", "-c", "nvidia-smi -L"], capture_output=True, check=False, timeout=PROBE_S / 2)
    if gpus.returncode or not gpus.stdout.strip():
        return "no NVIDIA GPU"
    environments = sorted(Path("~/stratus/venvs").expanduser().glob("[!.]*/bin/python"))
    why = "torch is not installed"
    for python in (*map(str, environments), sys.executable):
        done = subprocess.run(
            [python, "-c", HAS_NCCL], capture_output=True, check=False, text=True, timeout=PROBE_S / 2
        )
        answer = done.stdout.strip()
        if done.returncode == 0 and answer == "yes":
            return python
        why = answer if done.returncode == 0 and answer else why
    return why


def run_nccl(folder: Path, rank: int, seconds: float, addresses: Sequence[str], processes: int = 0) -> int:
    """Run this host's part of an all-reduce over all GPUs with torchrun; return the exit status."""
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False, text=True, timeout=PROBE_S).stdout
    gpus = processes or sum(line.startswith("GPU ") for line in listed.splitlines())
    with contextlib.suppress(LookupError):
        name = interface_of(addresses[rank])
        os.environ |= {"NCCL_SOCKET_IFNAME": name, "GLOO_SOCKET_IFNAME": name}
    port = str(mesh.port(folder) + 1)
    argv = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(len(addresses)), "--node-rank", str(rank)]
    argv += ["--master-addr", addresses[0], "--master-port", port, "--nproc-per-node", str(max(1, gpus))]
    program = str(Path(__file__).with_name("nccl.py"))
    return subprocess.run([*argv, program, str(seconds)], check=False, timeout=2 * seconds + NCCL_START_S).returncode


def main(mode: str, *args: str) -> int:
    """Run one mode of the program; return the exit status."""
    folder = Path(os.environ["STRATUS_FOLDER"])
    if mode == "lead":
        return lead(folder, float(args[0]))
    if mode == "nccl":
        say(find_nccl())
        return 0
    run = run_ring if mode == "ring" else run_nccl
    return run(folder, int(args[0]), float(args[1]), args[2:])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
