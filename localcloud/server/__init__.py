"""The embedded cloud over HTTP: its daemon, endpoint, kinds of hosts, container registry and control client."""
