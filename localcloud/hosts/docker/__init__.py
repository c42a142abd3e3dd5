"""Docker hosts: one container per instance, with an SSH server, sudo, and room for a Docker engine."""
