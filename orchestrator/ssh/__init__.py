"""SSH connections to hosts: commands, folders and tunnels through :class:`SshClient`."""

from orchestrator.ssh.client import CommandResult, Connection, SshClient, Tunnel, command_line, quote, write_ssh_config
from orchestrator.ssh.tunnel import LOOPBACK, PortTaken

__all__ = [
    "LOOPBACK",
    "CommandResult",
    "Connection",
    "PortTaken",
    "SshClient",
    "Tunnel",
    "command_line",
    "quote",
    "write_ssh_config",
]
