"""Ends a run's main tasks on all hosts when one of them fails, or its host is lost; on the VM, on Python alone.

    python mesh_guard.py FOLDER

For frameworks with a main task on every host, whose libraries wait for ever, or for half an hour, for one that is
gone. The agents of the mesh tell how each host's task ended; a host that tells nothing, and is gone, is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import mesh
from mesh_lead import Lead, Member, Refused, say


async def fate(member: Member) -> str:
    """Wait for the end of a host's main task; what is wrong with it, or nothing."""
    async for kind, body in member.peer.frames():
        if kind == mesh.EXIT:
            word = body.decode()
            return f"the task on {member.name} ended with {word}" if mesh.is_bad(word) else ""
    return f"lost {member.name} ({member.address}): it {member.peer.why}"


async def first_wrong(members: list[Member]) -> str:
    """Wait until something is wrong with a host, or all have ended well; what it is, or nothing."""
    for each in asyncio.as_completed([fate(member) for member in members]):
        if wrong := await each:
            return wrong
    return ""


async def spread(members: list[Member], wrong: str) -> None:
    """Let all hosts go; with a reason, they end their main tasks."""
    for member in members:
        with contextlib.suppress(*mesh.TROUBLE):
            await member.peer.send(mesh.BYE, wrong.encode())
            await asyncio.wait_for(member.peer.leave(), mesh.GRACE_S)


async def gathered(lead: Lead) -> str:
    """Gather all hosts; why that did not succeed, or nothing."""
    try:
        await lead.gather(float(os.environ["STRATUS_WAIT"]))
    except Refused as error:
        return str(error)
    return ""


async def main(folder: Path) -> int:
    """Watch until this host's own main task has ended, which ends this program, or something is wrong elsewhere."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    (folder / "state/guard.up").touch()
    lead = Lead(folder)
    end = asyncio.ensure_future(told.wait())
    begin = asyncio.ensure_future(gathered(lead))
    await asyncio.wait({begin, end}, return_when=asyncio.FIRST_COMPLETED)
    # Who has to be told has to be reached first; cancel.sh gives five seconds.
    await asyncio.wait({begin}, timeout=mesh.GRACE_S - 2)
    wrong = begin.result() if begin.done() else ""
    work = asyncio.ensure_future(first_wrong(lead.present()))
    if not wrong:
        await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
        wrong = work.result() if work.done() else ""
    own = mesh.word_of_main(folder)
    if not wrong and mesh.is_bad(own):
        wrong = f"the task on {os.environ['STRATUS_HOST']} ended with {own}"
    for task in (begin, work, end):
        task.cancel()
    # Two cannot read from one connection: whoever waited has to be gone.
    await asyncio.gather(begin, work, end, return_exceptions=True)
    if wrong:
        say(wrong)
    await spread(lead.present(), wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
