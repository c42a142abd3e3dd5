"""Executes containers: processes in user namespaces where the system allows them.

Where it does not, a container is a process whose /opt/ml is the folder in ``SAGEMAKER_BASE_DIR``: paths in its command
are replaced, those in its code are not, and names of other containers do not resolve.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from localcloud.core.process_tree import descendants, signal_all
from localcloud.sagemaker.containers import image
from localcloud.sagemaker.containers.image import Images
from localcloud.sagemaker.containers.namespaces import Namespaces, write_hosts
from localcloud.sagemaker.containers.spec import ContainerSpec

_ML = "/opt/ml"
_CHUNK_BYTES = 1 << 16
# A shell's exit code for a program that cannot be started.
_NOT_FOUND = 127
NO_NAMESPACES = (
    "this system allows no user namespaces: /opt/ml is {folder} (SAGEMAKER_BASE_DIR), and algo-N does not resolve"
)

OnOutput = Callable[[list[str]], None]
"""Called with lines of output, in order, on the container's own thread."""
OnExit = Callable[[int], None]
"""Called with the exit code, after all output, on the container's own thread."""


@dataclass(frozen=True)
class Watcher:
    """Callbacks of a container, for what it writes to stdout and stderr, and for its end."""

    on_output: OnOutput
    on_exit: OnExit


class Container:
    """A running container.

    :param environment: all of its variables.
    """

    def __init__(
        self, spec: ContainerSpec, namespaces: Namespaces, environment: Mapping[str, str], watcher: Watcher
    ) -> None:
        self.spec = spec
        self._namespaces, self._environment, self._watcher = namespaces, environment, watcher
        self._process: subprocess.Popen[bytes] | None = None
        self._started, self._exit_code = threading.Event(), 0
        # The kernel ends the process when this thread ends, so one thread starts it and stays until it has ended.
        self._thread = threading.Thread(target=self._run, name=f"container {spec.host_name}", daemon=True)
        self._thread.start()
        self._started.wait()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait until it has ended; return its exit code, 128 plus the number of a signal, or None on timeout."""
        self._thread.join(timeout_s)
        return None if self._thread.is_alive() else self._exit_code

    def terminate(self) -> None:
        """Send SIGTERM to the container's first process, as Docker does."""
        if self._process is not None:
            # With namespaces, unshare and then the first process are below the one that was started.
            is_confined = self._namespaces.are_available
            below = descendants(self._process.pid) if is_confined else [self._process.pid]
            signal_all(below[:1], signal.SIGTERM)

    def kill(self) -> None:
        """Kill everything in it."""
        if self._process is not None:
            signal_all(descendants(self._process.pid), signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _run(self) -> None:
        try:
            self._exit_code = self._execute()
        finally:
            self._started.set()
            self._watcher.on_exit(self._exit_code)

    def _execute(self) -> int:
        try:
            process = self._process = self._start()
        except OSError as error:
            self._watcher.on_output([str(error)])
            return _NOT_FOUND
        self._started.set()
        self._read(process)
        code = process.wait()
        return code if code >= 0 else 128 - code

    def _start(self) -> subprocess.Popen[bytes]:
        write_hosts(self.spec)
        is_confined = self._namespaces.are_available
        if not is_confined:
            self._watcher.on_output([NO_NAMESPACES.format(folder=self.spec.ml)])
        return subprocess.Popen(
            self._namespaces.command_of(self.spec) if is_confined else _outside(self.spec),
            env={**self._environment, **({} if is_confined else {"SAGEMAKER_BASE_DIR": str(self.spec.ml)})},
            cwd=self.spec.ml,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        rest = b""
        with process.stdout as output:
            while data := os.read(output.fileno(), _CHUNK_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                if lines:
                    self._watcher.on_output([line.decode("utf-8", "replace") for line in lines])
        if rest:
            self._watcher.on_output([rest.decode("utf-8", "replace")])


def _outside(spec: ContainerSpec) -> list[str]:
    return [word.replace(_ML, str(spec.ml)) for word in spec.command]


class ContainerEngine:
    """Starts containers, and ends those that are left when the cloud ends.

    :param environment: variables of every container, such as those for the network.
    """

    def __init__(self, environment: Mapping[str, str], namespaces: Namespaces, images: Images | None = None) -> None:
        self._environment, self._namespaces, self._images = environment, namespaces, images or Images()
        self._containers: list[Container] = []

    def start(self, spec: ContainerSpec, on_output: OnOutput, on_exit: OnExit = lambda _: None) -> Container:
        """Start a container; one whose program is missing ends at once with exit code 127."""
        spec.ml.mkdir(parents=True, exist_ok=True)
        image.unpack(spec.folder, _ML if self._namespaces.are_available else str(spec.ml))
        own = image.variables(spec.folder, self._images.python(spec.image))
        variables = {**own, **self._environment, "HOSTNAME": spec.host_name}
        container = Container(spec, self._namespaces, {**variables, **spec.environment}, Watcher(on_output, on_exit))
        self._containers = [*(other for other in self._containers if other.wait(0) is None), container]
        return container

    def close(self) -> None:
        """Kill every container."""
        for container in self._containers:
            container.kill()
        for container in self._containers:
            container.wait(5.0)
