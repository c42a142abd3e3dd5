"""Hostile SSH port, in front of the host's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from localcloud.hosts.hostile.behavior import Hostility

SLOW_S = 1.0
"""Seconds for each byte of a slow sender."""

_CUT_AFTER_BYTES = 300
_LONGEST_PACKET = bytes.fromhex("fffffffc")
"""Length of a packet in whole blocks of 8 bytes, without its own 4."""

_CHUNK = 1 << 16

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serve(hostility: Hostility, address: str, port: int, target_port: int) -> asyncio.Server:
    """Accept connections.

    :param target_port: port of the host's own SSH server at the same address.
    :raises OSError: the address is taken.
    """

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(address, target_port)
        upstream = asyncio.create_task(_copy(reader, server_writer))
        try:
            await _PASS_ON[hostility.how](server_reader, writer)
        finally:
            upstream.cancel()
            server_writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if hostility.how in _PASS_ON:
                await forward(reader, writer)
            else:
                await _send_banner(writer, is_slow=hostility.how == "slow-banner")
        writer.close()

    return await asyncio.start_server(handle, address, port)


async def _send_banner(writer: asyncio.StreamWriter, *, is_slow: bool) -> None:
    """Send a banner that never ends."""
    while True:
        writer.write(b"x" if is_slow else b"x" * _CHUNK)
        await writer.drain()
        # Also without a pause: others on the host's loop must run.
        await asyncio.sleep(SLOW_S if is_slow else 0)


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass the banner on at once, and everything after it byte by byte."""
    writer.write(await reader.readuntil(b"\n"))
    while byte := await reader.read(1):
        writer.write(byte)
        await writer.drain()
        await asyncio.sleep(SLOW_S)


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection in the middle of the key exchange."""
    writer.write(await reader.readexactly(_CUT_AFTER_BYTES))
    await writer.drain()


async def _send_packet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass the banner on, and send a packet that is as long as its length field allows."""
    writer.write(await reader.readuntil(b"\n") + _LONGEST_PACKET)
    while True:
        writer.write(bytes(_CHUNK))
        await writer.drain()
        await asyncio.sleep(0)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


_PASS_ON: dict[str, Handler] = {
    "slow-handshake": _trickle,
    "cut-handshake": _cut,
    "endless-packet": _send_packet,
}
