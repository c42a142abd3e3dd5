"""Docker hosts: the engine, their image and network, one container per instance; and a registry beside them."""
