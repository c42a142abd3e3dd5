"""Commands and streams, over real SSH servers."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConnectError, HostError, UsageError
from orchestrator.hosts.parallel import for_each
from orchestrator.ssh import SshClient, quote
from tests.support.ssh.ssh_lab import Lab, python_command


class TestRun:
    def test_a_reply_holds_both_outputs_and_the_exit_status(self, lab: Lab, ssh_client: SshClient) -> None:
        reply = ssh_client.run(lab.host(), "echo out; echo err >&2; exit 3")

        assert (reply.host, reply.stdout, reply.stderr, reply.exit_status) == ("ml-0", "out\n", "err\n", 3)
        assert not reply.ok
        with pytest.raises(HostError, match=r"^ml-0: looking failed: err \(exit 3\)$"):
            reply.raise_if_failed("looking failed")

    def test_input_reaches_the_command_whole_and_ends(self, lab: Lab, ssh_client: SshClient) -> None:
        data = bytes(range(256)) * 20_000

        reply = ssh_client.run(lab.host(), "sha256sum", stdin=data)

        assert reply.stdout.split()[0] == hashlib.sha256(data).hexdigest()
        assert ssh_client.run(lab.host(), "cat; echo ended").stdout == "ended\n"

    def test_many_commands_from_many_threads_share_one_connection(self, lab: Lab, ssh_client: SshClient) -> None:
        host, before = lab.host(1), lab.count("connect", 1)
        replies: list[str] = []
        threads = [
            threading.Thread(target=lambda i=i: replies.append(ssh_client.run(host, f"echo {i}").stdout))
            for i in range(8)
        ]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        assert sorted(replies) == [f"{i}\n" for i in range(8)]
        assert lab.count("connect", 1) - before == 1

    def test_thirty_two_hosts_answer_at_the_same_time(self, lab: Lab, ssh_client: SshClient) -> None:
        hosts = [lab.host(number) for number in range(32)]

        outcomes = for_each(
            hosts,
            lambda host: ssh_client.run(host, f"echo {host.name}").raise_if_failed("asking failed").stdout,
            clock=REAL_CLOCK,
        )

        assert outcomes.raise_if_failed("asking failed").successful_values() == [f"{host.name}\n" for host in hosts]

    def test_a_command_killed_by_a_signal_has_no_exit_status(self, lab: Lab, ssh_client: SshClient) -> None:
        reply = ssh_client.run(lab.host(), "kill -9 $$")

        assert reply.exit_status is None
        assert not reply.ok
        assert ssh_client.run(lab.host(), "echo alive").ok

    def test_large_output_on_both_streams_arrives_whole(self, lab: Lab, ssh_client: SshClient) -> None:
        program = "import sys\nfor _ in range(3000): print('o' * 999); print('e' * 999, file=sys.stderr)"

        reply = ssh_client.run(lab.host(), python_command(program))

        assert (len(reply.stdout), len(reply.stderr)) == (3_000_000, 3_000_000)

    @pytest.mark.slow
    def test_a_child_that_holds_the_output_open_does_not_hold_the_answer_back(
        self, lab: Lab, ssh_client: SshClient
    ) -> None:
        started = time.monotonic()

        reply = ssh_client.run(lab.host(), "echo begun; sleep 30 & echo $!")

        assert reply.ok
        assert time.monotonic() - started < 25, "it waited for the child"
        ssh_client.run(lab.host(), f"kill {reply.stdout.split()[1]}")

    def test_output_that_is_no_text_is_replaced(self, lab: Lab, ssh_client: SshClient) -> None:
        assert ssh_client.run(lab.host(), r"printf 'a\377b'").stdout == "a\ufffdb"

    def test_a_server_that_refuses_a_command_is_not_taken_for_a_lost_one(self, lab: Lab, ssh_client: SshClient) -> None:
        # This server takes no command that is not UTF-8; a file's name may well be none.
        command = quote("cat", b"\xff".decode(errors="surrogateescape"))

        with pytest.raises(HostError, match="refused to run a command") as caught:
            ssh_client.run(lab.host(), command)

        assert not isinstance(caught.value, ConnectError)


class TestStreams:
    def lines(self, lab: Lab, ssh_client: SshClient, command: str) -> list[str]:
        lines: list[str] = []
        assert ssh_client.stream(lab.host(), command, on_line=lines.append) == 0
        return lines

    def test_lines_come_while_the_command_runs(self, lab: Lab, ssh_client: SshClient) -> None:
        times: list[float] = []

        status = ssh_client.stream(
            lab.host(), "echo a; sleep 0.5; echo b >&2; exit 7", on_line=lambda _: times.append(time.monotonic())
        )

        assert status == 7
        assert times[1] - times[0] > 0.3

    def test_progress_bars_become_lines(self, lab: Lab, ssh_client: SshClient) -> None:
        assert self.lines(lab, ssh_client, r"printf '\r10%%\r20%%\r\nend\r\n\n\nx'") == [
            "10%",
            "20%",
            "end",
            "",
            "",
            "x",
        ]

    def test_very_long_lines_come_in_pieces_with_nothing_lost(self, lab: Lab, ssh_client: SshClient) -> None:
        lines = self.lines(lab, ssh_client, python_command("print('\u00e9' * 1_000_000)"))

        assert max(len(line.encode()) for line in lines) <= 64 * 1024
        assert "".join(lines) == "\u00e9" * 1_000_000

    def test_fifty_megabytes_go_up_on_demand_while_output_flows(self, lab: Lab, ssh_client: SshClient) -> None:
        block = bytes(range(256)) * 4096
        program = """
import hashlib, sys
print("@want blob", flush=True)
left, digest = int(sys.stdin.buffer.readline()), hashlib.sha256()
while left:
    data = sys.stdin.buffer.read1(min(left, 65536))
    left -= len(data)
    digest.update(data)
    print("noise" * 2000)
print("digest", digest.hexdigest())
"""
        noise, digests = [0], []

        def on_line(line: str) -> None:
            if line.startswith("noise"):
                noise[0] += len(line)
            elif line.startswith("digest"):
                digests.append(line.split()[1])

        def feed(line: str) -> Iterator[bytes] | None:
            return iter([b"%d\n" % (50 * len(block)), *[block] * 50]) if line == "@want blob" else None

        status = ssh_client.stream(lab.host(), python_command(program), on_line=on_line, respond=feed, timeout_s=60)

        assert status == 0
        assert digests == [hashlib.sha256(block * 50).hexdigest()]
        assert noise[0] >= 800 * 10_000

    def test_an_iterable_is_asked_for_as_the_host_takes_it(self, lab: Lab, ssh_client: SshClient) -> None:
        asked = [0]

        def chunks() -> Iterator[bytes]:
            for _ in range(1000):
                asked[0] += 1
                yield b"x" * 100_000

        status = ssh_client.stream(lab.host(), "head -c 10 >/dev/null", stdin=chunks(), on_line=lambda _: None)

        assert status == 0
        assert asked[0] < 500

    def test_an_upload_that_breaks_here_ends_the_stream_with_that_error(self, lab: Lab, ssh_client: SshClient) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"some"
            raise FileNotFoundError("gone")

        with pytest.raises(FileNotFoundError, match="gone"):
            ssh_client.stream(lab.host(), "cat; sleep 20", stdin=chunks(), on_line=lambda _: None)

    def test_what_a_listener_raises_is_handed_on_and_the_connection_lives(
        self, lab: Lab, ssh_client: SshClient
    ) -> None:
        def stop(_: str) -> None:
            raise KeyboardInterrupt

        connection = ssh_client.connect(lab.host())
        with pytest.raises(KeyboardInterrupt):
            ssh_client.stream(lab.host(), "echo a; sleep 20", on_line=stop)

        assert ssh_client.connect(lab.host()) is connection
        assert ssh_client.run(lab.host(), "echo alive").ok


# Anything that a shell, or a careless quoting, could stumble over.
HOSTILE = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    st.lists(
        st.sampled_from(["'", '"', "\\", "$(id)", "`id`", ";", "\n", "&", "|", "*", "~", "!", "-", "#", " ", "\t"])
    ).map("".join),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=6))
def test_a_real_shell_sees_quoted_words_unchanged(words: list[str]) -> None:
    done = subprocess.run(["sh", "-c", quote("printf", "%s\\0", *words)], capture_output=True, check=True)

    assert done.stdout == b"".join(word.encode() + b"\0" for word in words)
    assert done.stderr == b""


def test_a_nul_cannot_be_quoted() -> None:
    with pytest.raises(UsageError):
        quote("a\0b")


def test_importing_costs_neither_fabric_nor_paramiko() -> None:
    program = (
        "import sys, orchestrator.ssh, orchestrator.hosts.parallel; print({'fabric', 'paramiko'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
