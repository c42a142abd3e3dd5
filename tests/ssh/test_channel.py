"""One command on one channel: deadlines, silence, and lines cut from bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.output_line import OutputLine, as_output_line
from orchestrator.ssh import SshClient
from orchestrator.ssh.channel import WINDOW_BYTES, LineSplitter
from tests.support.ssh.flood_server import FloodServer
from tests.support.ssh.ssh_lab import PATIENCE_S, Lab, Listener, Wire


class TestDeadlines:
    @pytest.mark.slow
    def test_a_question_ends_by_its_deadline_when_the_server_hangs(self, own_lab: Lab, ssh_client: SshClient) -> None:
        assert ssh_client.run(own_lab.host(), "true").ok
        started = time.monotonic()

        with own_lab.frozen(), pytest.raises(ConnectError) as caught:
            ssh_client.run(own_lab.host(), "echo hello", timeout_s=1.5)

        assert caught.value.kind in ("silent", "lost")
        assert time.monotonic() - started < PATIENCE_S
        assert ssh_client.run(own_lab.host(), "echo again").stdout == "again\n"

    @pytest.mark.slow
    def test_a_question_ends_by_its_deadline_when_the_partition_comes_after_it_was_asked(
        self, lab: Lab, ssh_client: SshClient
    ) -> None:
        with Wire(lab.host()) as wire:
            host = lab.host(address=wire.address, port=wire.port)
            timer = threading.Timer(0.5, wire.cut)
            ssh_client.connect(host)
            timer.start()
            started = time.monotonic()

            with pytest.raises(ConnectError, match="no answer within") as caught:
                ssh_client.run(host, "sleep 20", timeout_s=1.5)

            assert caught.value.kind == "lost"
            assert 1.4 < time.monotonic() - started < PATIENCE_S

    def test_a_command_that_talks_but_goes_on_too_long_is_told_from_a_lost_host(
        self, lab: Lab, ssh_client: SshClient
    ) -> None:
        with pytest.raises(HostError, match="did not finish within") as caught:
            ssh_client.run(lab.host(), "while echo tick; do sleep 0.1; done", timeout_s=1)

        assert not isinstance(caught.value, ConnectError)

    def test_a_limit_below_a_second_is_not_rounded_to_none(self, lab: Lab, ssh_client: SshClient) -> None:
        ssh_client.run(lab.host(), "true")

        with pytest.raises(HostError, match=r" within 0\.0*[1-9]") as caught:
            ssh_client.run(lab.host(), "sleep 20", timeout_s=0.0001)
        assert "within 0 s" not in str(caught.value)

    @pytest.mark.slow
    def test_bytes_now_and_then_count_as_silence_where_output_is_all_there_already(
        self, lab: Lab, ssh_client: SshClient
    ) -> None:
        drip = "while printf x; do sleep 0.2; done"
        with pytest.raises(ConnectError, match=r"only \d+ bytes received for"):
            ssh_client.stream(lab.host(), drip, on_line=lambda line: None, silence_timeout_s=1, timeout_s=60)

        # A job's own output may be a line now and then: without a limit of time, it is no silence.
        brief = "for i in 1 2 3 4 5 6 7 8; do echo; sleep 0.2; done"
        assert ssh_client.stream(lab.host(), brief, on_line=lambda line: None, silence_timeout_s=1) == 0

    @pytest.mark.slow
    def test_bytes_now_and_then_without_a_line_end_count_as_silence_of_commands_with_heartbeats(
        self, lab: Lab, ssh_client: SshClient
    ) -> None:
        drip = partial(
            ssh_client.stream,
            lab.host(),
            "while printf x; do sleep 0.2; done",
            on_line=lambda line: None,
            silence_timeout_s=1,
        )
        with pytest.raises(ConnectError, match=r"only \d+ bytes received for"):
            drip()
        with pytest.raises(ConnectError, match=r"only \d+ bytes received for"):
            drip(timeout_s=60, respond=lambda line: None)

    @pytest.mark.slow
    def test_a_stream_that_falls_silent_is_lost(self, own_lab: Lab, ssh_client: SshClient) -> None:
        lines: list[str] = []
        heard = threading.Event()

        def on_line(line: str) -> None:
            lines.append(line)
            heard.set()

        def freeze() -> None:
            heard.wait(10)
            with own_lab.frozen():
                over.wait(10)

        over = threading.Event()
        freezer = threading.Thread(target=freeze)
        freezer.start()
        started = time.monotonic()
        with pytest.raises(ConnectError, match="no data received for") as caught:
            ssh_client.stream(
                own_lab.host(), "while echo tick; do sleep 0.1; done", on_line=on_line, silence_timeout_s=1
            )
        took = time.monotonic() - started
        over.set()
        freezer.join(10)

        assert caught.value.kind == "lost"
        assert set(lines) == {"tick"}
        assert took < PATIENCE_S

    @pytest.mark.slow
    def test_an_upload_into_a_silent_partition_is_lost_and_closing_does_not_wait_for_it(self, lab: Lab) -> None:
        with Wire(lab.host()) as wire, SshClient(REAL_CLOCK) as ssh_client:
            host = lab.host(address=wire.address, port=wire.port)

            def chunks() -> Iterator[bytes]:
                while True:
                    yield bytes(100_000)
                    wire.cut()

            with pytest.raises(ConnectError, match="no data received for") as caught:
                ssh_client.stream(host, "cat >/dev/null", stdin=chunks(), on_line=lambda _: None, silence_timeout_s=1)
            started = time.monotonic()
            ssh_client.close()

        assert caught.value.kind == "lost"
        assert time.monotonic() - started < PATIENCE_S

    @pytest.mark.slow
    def test_time_that_the_listener_takes_is_no_silence_of_the_host(self, lab: Lab, ssh_client: SshClient) -> None:
        status = ssh_client.stream(
            lab.host(), "echo a; sleep 1.2; echo b", on_line=lambda _: time.sleep(1), silence_timeout_s=1.8
        )

        assert status == 0

    def test_a_stream_ends_at_its_deadline_though_the_host_talks(self, lab: Lab, ssh_client: SshClient) -> None:
        with pytest.raises(HostError, match="did not finish within"):
            ssh_client.stream(lab.host(), "while echo x; do sleep 0.1; done", on_line=lambda _: None, timeout_s=0.8)

    def test_a_server_killed_in_mid_command_is_lost_at_once(self, own_lab: Lab, ssh_client: SshClient) -> None:
        with pytest.raises(ConnectError, match="connection ended") as caught:
            ssh_client.stream(
                own_lab.host(), "echo $PPID; sleep 20", on_line=lambda _: own_lab.process.kill(), silence_timeout_s=20
            )

        assert caught.value.kind == "lost"

    def test_half_a_line_of_a_lost_connection_is_not_a_line(self, own_lab: Lab, ssh_client: SshClient) -> None:
        """Counted as one, a new connection would begin after it, and its other half would be missing."""
        lines: list[OutputLine] = []

        def on_line(line: str) -> None:
            lines.append(as_output_line(line))
            own_lab.process.kill()

        with pytest.raises(ConnectError, match="connection ended"):
            ssh_client.stream(own_lab.host(), r"printf 'whole\nhalf'; sleep 20", on_line=on_line)

        assert [(line, line.raw, line.ends_line) for line in lines] == [("whole", b"whole", True), ("half", b"", False)]


@settings(deadline=None)
@example(chunks=[b"123456\r", b"7"], longest=6)
@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(min_value=4, max_value=20))
def test_lines_are_the_same_however_the_bytes_are_cut(chunks: list[bytes], longest: int) -> None:
    whole, parts, text = LineSplitter(longest), LineSplitter(longest), b"".join(chunks)

    at_once = [*whole.feed(text), *whole.flush()]
    in_parts = [line for chunk in chunks if chunk for line in parts.feed(chunk)] + [*parts.flush()]

    assert at_once == in_parts
    assert [line.raw for line in at_once] == [line.raw for line in in_parts]
    assert all(len(line) <= longest for line in at_once)


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(min_value=4, max_value=20))
def test_the_bytes_of_all_lines_are_those_of_the_stream(chunks: list[bytes], longest: int) -> None:
    splitter, stream = LineSplitter(longest), [*chunks, b"\n"]
    lines = [line for chunk in stream for line in splitter.feed(chunk)]

    assert b"".join(line.raw + b"\n" * line.ends_line for line in lines) == b"".join(stream)


class TestFlood:
    def test_a_host_that_ignores_the_window_is_cut_off_before_it_fills_the_memory(
        self, lab: Lab, ssh_client: SshClient
    ) -> None:
        server = FloodServer(lab.host_key_file, most_bytes=8 * WINDOW_BYTES)
        with Listener(server.serve) as listener:
            host = lab.host(address=listener.address, port=listener.port)
            with pytest.raises(ConnectError) as caught:
                # The consumer reads nothing more until the server can send nothing more.
                ssh_client.stream(host, "flood", on_line=lambda line: server.wait_until_cut_off(), silence_timeout_s=60)

        assert caught.value.kind == "lost"
        assert WINDOW_BYTES < server.sent_bytes < 8 * WINDOW_BYTES
