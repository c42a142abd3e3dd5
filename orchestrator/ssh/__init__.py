"""SSH: the only opener of connections. :class:`Links` is the way in; see :mod:`orchestrator.ssh.client`."""

from orchestrator.ssh.client import CommandResult, Connection, SshClient, Tunnel, command_line, quote, write_ssh_config

__all__ = ["CommandResult", "Connection", "SshClient", "Tunnel", "command_line", "quote", "write_ssh_config"]
