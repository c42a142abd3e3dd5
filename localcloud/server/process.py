"""The daemon itself: ``python -m localcloud.server.process ORDERS``, started by ``localcloud.server.daemon`` only."""

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
from localcloud.server.endpoint import MOTO_SETTINGS, Endpoint, open_endpoint
from localcloud.server.host_kinds import open_site

# Seconds between two looks at what may have ended without a signal.
_POLL_S = 2.0

_log = logging.getLogger(__name__)


def main(orders: dict[str, Any]) -> int:
    """Be the cloud until SIGTERM comes.

    :param orders: ``home``, the descriptor ``ready`` to write to, and the fields of ``daemon.Options``.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    os.environ.update(MOTO_SETTINGS)
    os.chdir("/")
    home = Home(Path(orders["home"]))
    try:
        with _cloud(home, orders) as endpoint:
            _publish(home, endpoint.block, orders)
            _wait(stop, home, orders["bound_to"])
    except LocalCloudError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


@contextmanager
def _cloud(home: Home, orders: dict[str, Any]) -> Iterator[Endpoint]:
    if not file_lock.hold(home.daemon_lock):
        raise LocalCloudError(f"another cloud is up in {home.folder}")
    # moto's tables are a million objects that never go: no collection is to walk them, now (0.4 s) or later.
    gc.disable()
    with ExitStack() as last:
        last.callback(shutil.rmtree, home.hosts_folder, ignore_errors=True)
        last.callback(home.state_file.unlink, missing_ok=True)
        endpoint = open_endpoint(home, _durations(orders), open_site(orders["hosts"], home, last))
        last.callback(endpoint.close)
        threading.Thread(target=_warm_up, args=[endpoint], name="warm-up", daemon=True).start()
        threading.Thread(target=endpoint.serve, name="server", daemon=True).start()
        yield endpoint


def _warm_up(endpoint: Endpoint) -> None:
    try:
        endpoint.warm_up()
    finally:
        gc.freeze()
        gc.enable()


def _wait(stop: threading.Event, home: Home, bound_to: int | None) -> None:
    """Wait for the signal; go too when the process that the cloud is bound to has gone, or the home was removed."""
    with ExitStack() as last:
        owner = select.poll()
        if bound_to is not None:
            try:
                descriptor = os.pidfd_open(bound_to)
            except ProcessLookupError:
                return
            last.callback(os.close, descriptor)
            owner.register(descriptor, select.POLLIN)
        while not stop.wait(_POLL_S) and home.daemon_lock.exists() and not owner.poll(0):
            pass


def _durations(orders: dict[str, Any]) -> Any:
    from localcloud.ec2.environment import StateDurations

    base = StateDurations.real() if orders["real_times"] else StateDurations()
    given = {f"{name}_s": orders[name] for name in ("pending", "boot") if orders[name] is not None}
    return replace(base, **given)


def _publish(home: Home, block: AddressBlock, orders: dict[str, Any]) -> None:
    """Write down how to reach the cloud, then say that it is there."""
    home.aws_config.write_text("[default]\n", encoding="utf-8")
    facts = {"pid": os.getpid(), "env": _environment(home, block), "orders": orders}
    partial = home.state_file.with_suffix(".part")
    partial.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    partial.replace(home.state_file)
    _log.info("listening on %s", block.url)
    os.write(orders["ready"], b"ready\n")
    os.close(orders["ready"])


def _environment(home: Home, block: AddressBlock) -> dict[str, str]:
    from localcloud.aws.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY

    return {
        "LOCALCLOUD_HOME": str(home.folder),
        "AWS_ENDPOINT_URL": block.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_DEFAULT_REGION": HOME_REGION,
        # A profile that the user's shell names is not in our file, and would be an error.
        "AWS_PROFILE": "default",
        "AWS_CONFIG_FILE": str(home.aws_config),
        "AWS_SHARED_CREDENTIALS_FILE": str(home.aws_config),
        "REHEARSAL_SSH_PORT": str(block.ssh_port),
        **_around_proxies(block),
    }


def _around_proxies(block: AddressBlock) -> dict[str, str]:
    """Where a proxy is set, calls to the cloud must not go to it."""
    if not any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
        return {}
    known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    around = ",".join(filter(None, [known, block.endpoint]))
    return {"NO_PROXY": around, "no_proxy": around}


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    os.setsid()
    code = main(json.loads(sys.argv[1]))
    logging.shutdown()
    # Whoever waits for the end need not wait for moto's data to be freed piece by piece.
    os._exit(code)
