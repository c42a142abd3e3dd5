"""The end of a VM on a real systemd: it comes at its time, and logins are possible until then."""

from __future__ import annotations

import base64
import io
import shlex
import tarfile
import time

from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.core import remote_scripts
from tests.support.systems.system_vm import Boot, SystemVM
from tests.support.waiting import wait_until

TOLERANCE_S = 60
"""Upper bound of the distance between the promised and the real end."""

DATE = """#!/bin/sh
[ -e /run/stepped ] && [ "$*" = +%s ] && exec /bin/date -d "1 hour" +%s
exec /bin/date "$@"
"""


HUNG_S = 120
"""Seconds after the end at which the timer shuts down if the watch hangs."""


def assert_ends_on_time(vm: SystemVM, until: int) -> None:
    off_at = vm.wait_off(until - time.time() + TOLERANCE_S + 10)
    assert -5 <= off_at - until <= TOLERANCE_S


def fetched(vm: SystemVM, name: str) -> str:
    """Return a file of the run, from a tar stream of its folder as FetchResults() reads it."""
    stream = base64.b64decode(vm.login.run(f"tar -C stratus/runs/{vm.run_id} -cz . | base64"))
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        content = archive.extractfile(f"./{name}")
        assert content
        return content.read().decode()


def test_logins_are_possible_until_the_end_which_nothing_moves_but_an_extension(boot: Boot) -> None:
    """A restart of logind, a cancelled shutdown, a killed watcher, and a lock that blocks shutdowns."""
    with boot(TimeLimits(30)) as vm:
        vm.login.start(vm.run_id, main="echo started; sleep 900")
        first = vm.extend("1", "-", "-")
        until = vm.extend("3", "-", "-")
        vm.root("systemctl restart systemd-logind")
        vm.root("shutdown -c")
        vm.root("kill -9 $(systemctl show -p MainPID stratus-idle | cut -d= -f2)")
        vm.root("systemd-run --quiet systemd-inhibit --what=shutdown --mode=block sleep 900")
        wait_until(lambda: time.time() > first + 10, timeout_s=120, pause_s=0.5)
        vm.login.cancel(vm.run_id)
        log = vm.login.run(remote_scripts.inline_command("log.sh", vm.run_id, "main", "0")).splitlines()

        assert log[0] == "started"
        assert fetched(vm, "log/main.log").splitlines() == log
        assert vm.login.run("test -e /run/nologin || echo open").strip() == "open"
        assert vm.until == until
        assert_ends_on_time(vm, until)
        assert "its time is over" in vm.file("/var/lib/stratus/ended")


def test_the_timer_shuts_down_if_the_watch_hangs(boot: Boot) -> None:
    with boot(TimeLimits(30)) as vm:
        until = vm.extend("1", "-", "-")
        vm.root("systemctl kill --signal STOP stratus-idle")
        off_at = vm.wait_off(until - time.time() + HUNG_S + TOLERANCE_S + 10)

        assert until + HUNG_S - 5 <= off_at <= until + HUNG_S + TOLERANCE_S


def test_a_reboot_a_full_disk_and_a_clock_that_is_set_keep_the_end(boot: Boot) -> None:
    """The clock of a container is that of its computer: `date` is replaced. A VM's is set in ``scripts/demo-vm``."""
    setup = f"printf %s {shlex.quote(DATE)} >/usr/local/bin/date; chmod 755 /usr/local/bin/date"
    with boot(TimeLimits(30), setup=setup) as vm:
        until = vm.extend("4", "-", "-")
        # As after an earlier boot near the end: otherwise this one would leave ten minutes for StartAll().
        vm.root("touch /var/lib/stratus/graced")
        vm.reboot()
        assert abs(vm.until - until) <= 2
        state = "/var/lib/stratus"
        vm.root(f"cp -a {state} /run/copy; mount -t tmpfs -o size=64k tmpfs {state}; cp -a /run/copy/. {state}")
        vm.root("dd if=/dev/zero of=/var/lib/stratus/fill bs=1k 2>/dev/null || :")
        until = vm.extend("2", "-", "-")
        assert stored_until(vm) == until
        vm.root("touch /run/stepped")
        wait_until(lambda: abs(stored_until(vm) - until - 3600) < 5, timeout_s=120, pause_s=0.5)
        assert_ends_on_time(vm, until)


def stored_until(vm: SystemVM) -> int:
    """Return the time of the shutdown as programs on the VM read it, from a file system that is mounted there."""
    return int(vm.root("cat /var/lib/stratus/until"))
