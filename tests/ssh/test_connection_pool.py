"""Pooled connections: reuse, reopening, and waiting for a host."""

from __future__ import annotations

import threading
import time

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConnectError, HostError
from orchestrator.ssh import SshClient
from tests.support.ssh.ssh_lab import PATIENCE_S, Lab, Wire, refusing
from tests.support.waiting import wait_until


class TestKeptConnections:
    def test_a_connection_that_ended_is_opened_anew(self, own_lab: Lab, ssh_client: SshClient) -> None:
        assert ssh_client.run(own_lab.host(), "echo one").stdout == "one\n"
        own_lab.stop()
        own_lab.start()

        assert ssh_client.run(own_lab.host(), "echo two").stdout == "two\n"

    @pytest.mark.slow
    def test_a_connection_that_fell_silent_is_opened_anew_once(self, lab: Lab, ssh_client: SshClient) -> None:
        with Wire(lab.host()) as wire:
            host = lab.host(address=wire.address, port=wire.port)
            assert ssh_client.run(host, "echo one").stdout == "one\n"
            wire.cut()

            assert ssh_client.run(host, "echo two", timeout_s=3).stdout == "two\n"
            assert len(wire.accepted) == 2

    def test_a_forgotten_host_is_disconnected(self, lab: Lab, ssh_client: SshClient) -> None:
        connection = ssh_client.connect(lab.host(2))

        ssh_client.disconnect(lab.host(2))

        assert not connection.transport.is_active()
        assert ssh_client.connect(lab.host(2)) is not connection

    def test_closing_ends_connections_and_refuses_new_ones(self, lab: Lab) -> None:
        with SshClient(REAL_CLOCK) as ssh_client:
            connection = ssh_client.connect(lab.host(3))

        wait_until(lambda: not connection.transport.is_alive())
        with pytest.raises(HostError, match="closed"):
            ssh_client.run(lab.host(3), "true")

    def test_fabric_works_on_a_connection_of_ours(self, lab: Lab, ssh_client: SshClient) -> None:
        result = ssh_client.connect(lab.host()).fabric.run("echo fabric", hide=True, in_stream=False)

        assert result.stdout == "fabric\n"


class TestWaiting:
    @pytest.mark.slow
    def test_it_ends_as_soon_as_the_server_is_up(self, own_lab: Lab, ssh_client: SshClient) -> None:
        host = own_lab.host()
        own_lab.stop()
        starting = threading.Timer(0.7, own_lab.start)
        starting.start()

        waited = ssh_client.wait_until_ready(host, timeout_s=20)
        starting.join()

        assert 0.5 < waited < 10
        assert ssh_client.run(host, "echo up").stdout == "up\n"

    def test_the_last_reason_is_told_at_the_deadline(self, lab: Lab, ssh_client: SshClient) -> None:
        address, port = refusing()
        started = time.monotonic()

        with pytest.raises(ConnectError, match=r"gave up after \d s and \d+ attempts") as caught:
            ssh_client.wait_until_ready(lab.host(address=address, port=port), timeout_s=1)

        assert caught.value.kind == "refused"
        assert time.monotonic() - started < PATIENCE_S

    def test_it_ends_early_when_the_machine_died(self, lab: Lab, ssh_client: SshClient) -> None:
        address, port = refusing()
        answers = iter(["", "", "Server.InternalError"])

        with pytest.raises(HostError, match=r"stopped before SSH was up: Server\.InternalError"):
            ssh_client.wait_until_ready(
                lab.host(address=address, port=port), timeout_s=20, failure_reason=lambda: next(answers)
            )

    def test_a_refused_login_is_tried_three_times_at_most(self, lab: Lab) -> None:
        before = lab.count("login", 4)

        with SshClient(REAL_CLOCK, login_pauses_s=(0.05, 0.05)) as ssh_client, pytest.raises(ConnectError) as caught:
            ssh_client.wait_until_ready(lab.host(4, user="nobody"), timeout_s=20)

        assert caught.value.kind == "auth"
        assert lab.count("login", 4) - before == 3

    def test_a_login_that_is_let_in_late_succeeds(self, own_lab: Lab) -> None:
        authorized = own_lab.folder / "authorized"
        public = authorized.read_text()
        authorized.write_text("")

        def admit() -> None:
            wait_until(lambda: own_lab.count("login") > 0)
            authorized.write_text(public)

        late = threading.Thread(target=admit)
        late.start()
        with SshClient(REAL_CLOCK, login_pauses_s=(0.5, 2.0)) as ssh_client:
            ssh_client.wait_until_ready(own_lab.host(), timeout_s=20)
        late.join()

        assert own_lab.count("login") in (2, 3)

    def test_a_wrong_host_key_is_not_tried_again(self, lab: Lab, impostor: Lab, ssh_client: SshClient) -> None:
        before = impostor.count("connect")

        with pytest.raises(ConnectError) as caught:
            ssh_client.wait_until_ready(impostor.host(host_key=lab.host_key), timeout_s=20)

        assert caught.value.kind == "host-key"
        assert impostor.count("connect") - before == 1
        assert set(impostor.events()) == {"connect"}
