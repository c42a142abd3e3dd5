"""Process that reports the ends of a cloud's hosts, and ends them all when the cloud's own process has ended.

It is a process of its own because it must outlive the cloud: without it, the hosts of a killed cloud would run on.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable

_SCRIPT = """
docker events --since "$2" --filter "label=$1" --filter event=die \
    --format '{{index .Actor.Attributes "localcloud.instance"}}' &
# Standard input ends with the cloud's process.
cat >/dev/null
kill $!
docker ps --quiet --filter "label=$1" | xargs -r docker kill >/dev/null
"""
_END_TIMEOUT_S = 60.0


class HostWatch:
    """Watches the hosts of a cloud.

    :param label: label of its containers, as ``name=value``.
    :param on_end: called with the id of an instance whose container has ended, for any reason.
    """

    def __init__(self, label: str, on_end: Callable[[str], None]) -> None:
        self._on_end = on_end
        # With the time, because the engine is asked for its events some time later.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "sh", label, f"{time.time():.3f}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # A signal to the group of the cloud's process must not end it.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="host-watch", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """End the process; hosts that still run are killed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(_END_TIMEOUT_S)
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            if instance_id := line.strip():
                self._on_end(instance_id)
