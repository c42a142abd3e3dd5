"""SSH server that sends output without regard to the window of the channel."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import paramiko
from paramiko.common import cMSG_CHANNEL_DATA

_CHUNK = b"x" * 1023 + b"\n"
_CHUNKS_PER_PACKET = 16


class FloodServer(paramiko.ServerInterface):
    """Server for one connection: any key may log in, and any command prints lines without end.

    :param host_key_file: private host key in OpenSSH's format.
    :param most_bytes: bytes after which the server gives up.
    """

    def __init__(self, host_key_file: Path, *, most_bytes: int) -> None:
        self._host_key = paramiko.Ed25519Key.from_private_key_file(str(host_key_file))
        self._most_bytes = most_bytes
        self.sent_bytes = 0
        self._may_send, self._is_over = threading.Event(), threading.Event()

    def serve(self, sock: socket.socket) -> None:
        """Serve a connection until the client closes it."""
        transport = paramiko.Transport(sock)
        transport.add_server_key(self._host_key)
        transport.start_server(server=self)
        channel = transport.accept(60)
        try:
            if channel is not None and self._may_send.wait(60):
                self._flood(transport, channel)
        except (OSError, EOFError):
            pass  # cut off
        finally:
            self._is_over.set()
            transport.close()

    def wait_until_cut_off(self) -> None:
        """Wait until the server cannot send any more, or has sent all."""
        self._is_over.wait(120)

    def _flood(self, transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        while transport.is_active() and self.sent_bytes < self._most_bytes:
            message = paramiko.Message()
            message.add_byte(cMSG_CHANNEL_DATA)
            message.add_int(channel.remote_chanid)
            message.add_string(_CHUNK * _CHUNKS_PER_PACKET)
            transport._send_user_message(message)  # type: ignore[attr-defined]
            self.sent_bytes += len(_CHUNK) * _CHUNKS_PER_PACKET

    def get_allowed_auths(self, _username: str) -> str:
        """Return the methods of login."""
        return "publickey"

    def check_auth_publickey(self, _username: str, _key: paramiko.PKey) -> int:
        """Let everybody log in."""
        return paramiko.AUTH_SUCCESSFUL  # type: ignore[attr-defined,no-any-return]

    def check_channel_request(self, _kind: str, _chanid: int) -> int:
        """Let a client open any channel."""
        return paramiko.OPEN_SUCCEEDED  # type: ignore[attr-defined,no-any-return]

    def check_channel_exec_request(self, _channel: paramiko.Channel, _command: bytes) -> bool:
        """Accept any command."""
        self._may_send.set()
        return True
