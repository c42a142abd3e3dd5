"""SSH connections to hosts: commands, folders and tunnels through :class:`SshClient`."""

from orchestrator.ssh.client import CommandResult, Connection, SshClient, Tunnel, command_line, quote, write_ssh_config

__all__ = ["CommandResult", "Connection", "SshClient", "Tunnel", "command_line", "quote", "write_ssh_config"]
