"""The daemon process: ``python -m localcloud.server.process SETTINGS``, started by ``localcloud.server.daemon``."""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from localcloud.core import file_lock
from localcloud.core.addresses import HOME_REGION, AddressBlock
from localcloud.core.errors import LocalCloudError
from localcloud.core.home import Home
from localcloud.ec2.environment import StateDurations
from localcloud.server.endpoint import MOTO_SETTINGS, Endpoint, open_endpoint
from localcloud.server.host_kinds import KINDS, HostKinds

# Interval for checking events that send no signal: the owner's end, or removal of the home.
_POLL_S = 2.0

_log = logging.getLogger(__name__)


def main(settings: dict[str, Any], kinds: HostKinds = KINDS) -> int:
    """Run the cloud until SIGTERM; return the exit code.

    :param settings: ``home``, the descriptor ``ready`` to write to, and the fields of ``daemon.CloudOptions``.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    os.environ.update(MOTO_SETTINGS)
    os.chdir("/")
    home = Home(Path(settings["home"]))
    try:
        with _cloud(home, settings, kinds) as endpoint:
            _publish(home, endpoint.block, settings)
            _wait(stop, home, settings["bound_to"])
    except LocalCloudError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


@contextmanager
def _cloud(home: Home, settings: dict[str, Any], kinds: HostKinds) -> Iterator[Endpoint]:
    # Held until this process ends, however it ends.
    if not file_lock.hold(home.daemon_lock):
        raise LocalCloudError(f"another embedded cloud is running in {home.folder}")
    # moto's tables are a million objects that are never freed: a garbage collection now would take 0.4 s.
    gc.disable()
    with ExitStack() as resources:
        resources.callback(shutil.rmtree, home.hosts_folder, ignore_errors=True)
        resources.callback(home.state_file.unlink, missing_ok=True)
        site = kinds[settings["hosts"]].open(home, resources)
        endpoint = open_endpoint(home, _durations(settings), site)
        resources.callback(endpoint.close)
        # In the background: the first client may call at once, and waits at most as long as without it.
        threading.Thread(target=_warm_up, args=[endpoint], name="warm-up", daemon=True).start()
        threading.Thread(target=endpoint.serve, name="server", daemon=True).start()
        yield endpoint


def _warm_up(endpoint: Endpoint) -> None:
    try:
        endpoint.warm_up()
    finally:
        # Later collections skip what is loaded now.
        gc.freeze()
        gc.enable()


def _wait(stop: threading.Event, home: Home, owner_pid: int | None) -> None:
    """Wait for the stop event, the end of the owner's process, or the removal of the home."""
    with ExitStack() as resources:
        owner = select.poll()
        if owner_pid is not None:
            try:
                descriptor = os.pidfd_open(owner_pid)
            except ProcessLookupError:
                return
            resources.callback(os.close, descriptor)
            owner.register(descriptor, select.POLLIN)
        while not stop.wait(_POLL_S) and home.daemon_lock.exists() and not owner.poll(0):
            pass


def _durations(settings: dict[str, Any]) -> StateDurations:
    base = StateDurations.real() if settings["real_times"] else StateDurations()
    chosen = {f"{name}_s": settings[name] for name in ("pending", "boot") if settings[name] is not None}
    return replace(base, **chosen)


def _publish(home: Home, block: AddressBlock, settings: dict[str, Any]) -> None:
    """Write the state file, then report that the cloud is ready."""
    home.aws_config.write_text("[default]\n", encoding="utf-8")
    # "orders" is the name of the settings in the file since its first version.
    state = {"pid": os.getpid(), "env": _environment(home, block), "orders": settings}
    partial = home.state_file.with_suffix(".part")
    partial.write_text(json.dumps(state, indent=1), encoding="utf-8")
    # Atomic: readers never see a part of the file.
    partial.replace(home.state_file)
    _log.info("listening on %s", block.url)
    os.write(settings["ready"], b"ready\n")
    os.close(settings["ready"])


def _environment(home: Home, block: AddressBlock) -> dict[str, str]:
    from localcloud.aws.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY

    return {
        "LOCALCLOUD_HOME": str(home.folder),
        "AWS_ENDPOINT_URL": block.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_DEFAULT_REGION": HOME_REGION,
        # A profile set in the user's shell is not in this file, and would be an error.
        "AWS_PROFILE": "default",
        "AWS_CONFIG_FILE": str(home.aws_config),
        "AWS_SHARED_CREDENTIALS_FILE": str(home.aws_config),
        "REHEARSAL_SSH_PORT": str(block.ssh_port),
        **_proxy_exceptions(block),
    }


def _proxy_exceptions(block: AddressBlock) -> dict[str, str]:
    """Return the variables that keep calls to the cloud off a proxy, if one is set."""
    if not any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
        return {}
    existing = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    exceptions = ",".join(filter(None, [existing, block.endpoint]))
    return {"NO_PROXY": exceptions, "no_proxy": exceptions}


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    # Ctrl-C in the user's terminal must not stop the cloud.
    os.setsid()
    code = main(json.loads(sys.argv[1]))
    logging.shutdown()
    # Skips the interpreter's shutdown, which would free moto's data object by object.
    os._exit(code)
