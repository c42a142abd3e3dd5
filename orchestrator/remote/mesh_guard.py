"""Ends a run's main tasks on all hosts when one of them fails or its host is lost; standard library only, on the VM.

    python mesh_guard.py FOLDER

For frameworks with a main task on every host, whose libraries wait forever, or for half an hour, for a lost one. The
agents of the mesh report how each host's task ended; a host that disconnects without a report is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import mesh
from mesh_lead import Lead, Member, MeshError, log


async def wait_for_end(member: Member) -> str:
    """Wait for the end of a host's main task; return what failed, or nothing."""
    async for kind, body in member.peer.frames():
        if kind == mesh.EXIT:
            status = body.decode()
            return f"the task on {member.name} ended with {status}" if mesh.is_failure(status) else ""
    return f"lost {member.name} ({member.address}): it {member.peer.why}"


async def first_failure(members: list[Member]) -> str:
    """Wait until a host fails or all have succeeded; return what failed, or nothing."""
    for end in asyncio.as_completed([wait_for_end(member) for member in members]):
        if problem := await end:
            return problem
    return ""


async def release(members: list[Member], problem: str) -> None:
    """Release all hosts; with a problem, they end their main tasks."""
    for member in members:
        with contextlib.suppress(*mesh.CONNECTION_ERRORS):
            await member.peer.send(mesh.BYE, problem.encode())
            await asyncio.wait_for(member.peer.leave(), mesh.GRACE_S)


async def connect_hosts(lead: Lead) -> str:
    """Connect to all hosts; return why that failed, or nothing."""
    try:
        await lead.gather(float(os.environ["STRATUS_WAIT"]))
    except MeshError as error:
        return str(error)
    return ""


async def main(folder: Path) -> int:
    """Monitor until this host's main task has ended, which ends this program, or another host fails."""
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    (folder / "state/guard.up").touch()
    # Without min_hosts: a library that waits for one lost host waits forever.
    lead = Lead(folder)
    end = asyncio.ensure_future(terminated.wait())
    begin = asyncio.ensure_future(connect_hosts(lead))
    await asyncio.wait({begin, end}, return_when=asyncio.FIRST_COMPLETED)
    # A failure can only be reported to connected hosts; cancel.sh allows five seconds.
    await asyncio.wait({begin}, timeout=mesh.GRACE_S - 2)
    problem = begin.result() if begin.done() else ""
    work = asyncio.ensure_future(first_failure(lead.present()))
    if not problem:
        await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
        problem = work.result() if work.done() else ""
    own_status = mesh.main_status(folder)
    if not problem and mesh.is_failure(own_status):
        problem = f"the task on {os.environ['STRATUS_HOST']} ended with {own_status}"
    for task in (begin, work, end):
        task.cancel()
    # Two tasks cannot read from one connection: the cancelled ones must have ended.
    await asyncio.gather(begin, work, end, return_exceptions=True)
    if problem:
        log(problem)
    await release(lead.present(), problem)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
