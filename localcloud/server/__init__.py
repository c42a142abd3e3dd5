"""The embedded cloud over HTTP: the daemon, its process, its endpoint and the client that controls it."""
