"""Connecting, asking and streaming, over real SSH servers; and every way in which the network can deny it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import ConnectError, HostError, UsageError
from orchestrator.hosts.parallel import for_each
from orchestrator.ssh import SshClient, quote
from orchestrator.ssh.channel import LineSplitter
from tests.support.ssh_lab import Lab, Listener, Wire, dropping, eventually, refusing

# What ends by its deadline of a second or so ends well before this on a busy computer too; what does not, hangs longer.
PATIENCE = 9.0


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("ssh"), hosts=32)
    yield lab
    lab.stop()


@pytest.fixture(scope="module")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A server with another host key than the one that is expected."""
    lab = Lab(tmp_path_factory.mktemp("impostor"), first=100)
    yield lab
    lab.stop()


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "own", first=101)
    yield lab
    lab.stop()


@pytest.fixture
def links() -> Iterator[SshClient]:
    with SshClient(REAL_CLOCK) as links:
        yield links


def python(program: str) -> str:
    return quote(sys.executable, "-c", program)


class TestRun:
    def test_a_reply_holds_both_outputs_and_the_exit_status(self, lab: Lab, links: SshClient) -> None:
        reply = links.run(lab.host(), "echo out; echo err >&2; exit 3")

        assert (reply.host, reply.stdout, reply.stderr, reply.exit_status) == ("ml-0", "out\n", "err\n", 3)
        assert not reply.ok
        with pytest.raises(HostError, match=r"^ml-0: looking failed: err \(exit 3\)$"):
            reply.raise_if_failed("looking failed")

    def test_input_reaches_the_command_whole_and_ends(self, lab: Lab, links: SshClient) -> None:
        data = bytes(range(256)) * 20_000

        reply = links.run(lab.host(), "sha256sum", stdin=data)

        assert reply.stdout.split()[0] == hashlib.sha256(data).hexdigest()
        assert links.run(lab.host(), "cat; echo ended").stdout == "ended\n"

    def test_many_commands_from_many_threads_share_one_connection(self, lab: Lab, links: SshClient) -> None:
        host, before = lab.host(1), lab.count("connect", 1)
        replies: list[str] = []
        threads = [
            threading.Thread(target=lambda i=i: replies.append(links.run(host, f"echo {i}").stdout)) for i in range(8)
        ]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        assert sorted(replies) == [f"{i}\n" for i in range(8)]
        assert lab.count("connect", 1) - before == 1

    def test_thirty_two_hosts_answer_at_the_same_time(self, lab: Lab, links: SshClient) -> None:
        hosts = [lab.host(number) for number in range(32)]

        outcomes = for_each(
            hosts,
            lambda host: links.run(host, f"echo {host.name}").raise_if_failed("asking failed").stdout,
            clock=REAL_CLOCK,
        )

        assert outcomes.raise_if_failed("asking failed").successful_values() == [f"{host.name}\n" for host in hosts]

    def test_a_command_killed_by_a_signal_has_no_exit_status(self, lab: Lab, links: SshClient) -> None:
        reply = links.run(lab.host(), "kill -9 $$")

        assert reply.exit_status is None
        assert not reply.ok
        assert links.run(lab.host(), "echo alive").ok

    def test_large_output_on_both_streams_arrives_whole(self, lab: Lab, links: SshClient) -> None:
        program = "import sys\nfor _ in range(3000): print('o' * 999); print('e' * 999, file=sys.stderr)"

        reply = links.run(lab.host(), python(program))

        assert (len(reply.stdout), len(reply.stderr)) == (3_000_000, 3_000_000)

    def test_a_child_that_holds_the_output_open_does_not_hold_the_answer_back(self, lab: Lab, links: SshClient) -> None:
        started = time.monotonic()

        reply = links.run(lab.host(), "echo begun; sleep 30 & echo $!")

        assert reply.ok
        assert time.monotonic() - started < 25, "it waited for the child"
        links.run(lab.host(), f"kill {reply.stdout.split()[1]}")

    def test_output_that_is_no_text_is_replaced(self, lab: Lab, links: SshClient) -> None:
        assert links.run(lab.host(), r"printf 'a\377b'").stdout == "a\ufffdb"

    def test_a_server_that_refuses_a_command_is_not_taken_for_a_lost_one(self, lab: Lab, links: SshClient) -> None:
        # This server takes no command that is not UTF-8; a file's name may well be none.
        command = quote("cat", b"\xff".decode(errors="surrogateescape"))

        with pytest.raises(HostError, match="refused to run a command") as caught:
            links.run(lab.host(), command)

        assert not isinstance(caught.value, ConnectError)


class TestDeadlines:
    def test_a_question_ends_by_its_deadline_when_the_server_hangs(self, own_lab: Lab, links: SshClient) -> None:
        assert links.run(own_lab.host(), "true").ok
        started = time.monotonic()

        with own_lab.frozen(), pytest.raises(ConnectError) as caught:
            links.run(own_lab.host(), "echo hello", timeout_s=1.5)

        assert caught.value.kind in ("silent", "lost")
        assert time.monotonic() - started < PATIENCE
        assert links.run(own_lab.host(), "echo again").stdout == "again\n"

    def test_a_question_ends_by_its_deadline_when_the_partition_comes_after_it_was_asked(
        self, lab: Lab, links: SshClient
    ) -> None:
        with Wire(lab.host()) as wire:
            host = lab.host(address=wire.address, port=wire.port)
            timer = threading.Timer(0.5, wire.cut)
            links.connect(host)
            timer.start()
            started = time.monotonic()

            with pytest.raises(ConnectError, match="no answer within") as caught:
                links.run(host, "sleep 20", timeout_s=1.5)

            assert caught.value.kind == "lost"
            assert 1.4 < time.monotonic() - started < PATIENCE

    def test_a_command_that_talks_but_goes_on_too_long_is_told_from_a_lost_host(
        self, lab: Lab, links: SshClient
    ) -> None:
        with pytest.raises(HostError, match="did not finish within") as caught:
            links.run(lab.host(), "while echo tick; do sleep 0.1; done", timeout_s=1)

        assert not isinstance(caught.value, ConnectError)

    def test_a_stream_that_falls_silent_is_lost(self, own_lab: Lab, links: SshClient) -> None:
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
            links.stream(own_lab.host(), "while echo tick; do sleep 0.1; done", on_line=on_line, silence_timeout_s=1)
        took = time.monotonic() - started
        over.set()
        freezer.join(10)

        assert caught.value.kind == "lost"
        assert set(lines) == {"tick"}
        assert took < PATIENCE

    def test_an_upload_into_a_silent_partition_is_lost_and_closing_does_not_wait_for_it(self, lab: Lab) -> None:
        with Wire(lab.host()) as wire, SshClient(REAL_CLOCK) as links:
            host = lab.host(address=wire.address, port=wire.port)

            def chunks() -> Iterator[bytes]:
                while True:
                    yield bytes(100_000)
                    wire.cut()

            with pytest.raises(ConnectError, match="no data received for") as caught:
                links.stream(host, "cat >/dev/null", stdin=chunks(), on_line=lambda _: None, silence_timeout_s=1)
            started = time.monotonic()
            links.close()

        assert caught.value.kind == "lost"
        assert time.monotonic() - started < PATIENCE

    def test_time_that_the_listener_takes_is_no_silence_of_the_host(self, lab: Lab, links: SshClient) -> None:
        status = links.stream(
            lab.host(), "echo a; sleep 1.2; echo b", on_line=lambda _: time.sleep(1), silence_timeout_s=1.8
        )

        assert status == 0

    def test_a_stream_ends_at_its_deadline_though_the_host_talks(self, lab: Lab, links: SshClient) -> None:
        with pytest.raises(HostError, match="did not finish within"):
            links.stream(lab.host(), "while echo x; do sleep 0.1; done", on_line=lambda _: None, timeout_s=0.8)

    def test_a_server_killed_in_mid_command_is_lost_at_once(self, own_lab: Lab, links: SshClient) -> None:
        with pytest.raises(ConnectError, match="connection ended") as caught:
            links.stream(
                own_lab.host(), "echo $PPID; sleep 20", on_line=lambda _: own_lab.process.kill(), silence_timeout_s=20
            )

        assert caught.value.kind == "lost"


class TestKeptConnections:
    def test_a_connection_that_ended_is_opened_anew(self, own_lab: Lab, links: SshClient) -> None:
        assert links.run(own_lab.host(), "echo one").stdout == "one\n"
        own_lab.stop()
        own_lab.start()

        assert links.run(own_lab.host(), "echo two").stdout == "two\n"

    def test_a_connection_that_fell_silent_is_opened_anew_once(self, lab: Lab, links: SshClient) -> None:
        with Wire(lab.host()) as wire:
            host = lab.host(address=wire.address, port=wire.port)
            assert links.run(host, "echo one").stdout == "one\n"
            wire.cut()

            assert links.run(host, "echo two", timeout_s=3).stdout == "two\n"
            assert len(wire.accepted) == 2

    def test_a_forgotten_host_is_disconnected(self, lab: Lab, links: SshClient) -> None:
        connection = links.connect(lab.host(2))

        links.disconnect(lab.host(2))

        assert not connection.transport.is_active()
        assert links.connect(lab.host(2)) is not connection

    def test_closing_ends_connections_and_refuses_new_ones(self, lab: Lab) -> None:
        with SshClient(REAL_CLOCK) as links:
            connection = links.connect(lab.host(3))

        eventually(lambda: not connection.transport.is_alive())
        with pytest.raises(HostError, match="closed"):
            links.run(lab.host(3), "true")

    def test_fabric_works_on_a_connection_of_ours(self, lab: Lab, links: SshClient) -> None:
        result = links.connect(lab.host()).run("echo fabric", hide=True, in_stream=False)

        assert result.stdout == "fabric\n"


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("ssh-ed25519", "openssh"),
        ("ssh-ed25519", "pkcs8-pem"),
        ("ssh-rsa", "pkcs1-pem"),
        ("ssh-rsa", "pkcs8-pem"),
        ("ecdsa-sha2-nistp256", "openssh"),
        ("ecdsa-sha2-nistp256", "pkcs8-pem"),
    ],
)
def test_login_keys_of_the_usual_types_and_formats_open_a_host(
    lab: Lab, links: SshClient, kind: str, form: str
) -> None:
    path = lab.folder / f"{kind}.{form}.key"
    key = asyncssh.generate_private_key(kind)
    key.write_private_key(path, form)
    with (lab.folder / "authorized").open("ab") as authorized:
        authorized.write(key.export_public_key())

    assert links.run(lab.host(key_file=path), "echo in").stdout == "in\n"


class TestReasons:
    """Each way of not connecting has its own name and its own words."""

    def failure(self, lab: Lab, timeout: float = 5, **changes: Any) -> ConnectError:
        with SshClient(REAL_CLOCK, connect_timeout_s=timeout) as links, pytest.raises(ConnectError) as caught:
            links.run(lab.host(**changes), "touch executed")
        assert not (lab.homes[0] / "executed").exists()
        assert str(caught.value).startswith("ml-0: ")
        return caught.value

    def test_refused_when_nothing_listens(self, lab: Lab) -> None:
        address, port = refusing()

        error = self.failure(lab, address=address, port=port)

        assert error.kind == "refused"
        assert f"nothing listens on {address} port {port}" in str(error)

    def test_dropped_when_packets_vanish(self, lab: Lab) -> None:
        with dropping() as (address, port):
            error = self.failure(lab, timeout=0.7, address=address, port=port)

        assert error.kind == "dropped"
        assert f"no answer from {address} port {port} for 0.7 s (packets dropped)" in str(error)
        assert "security group" in str(error)

    def test_no_route_when_the_kernel_knows_no_way(self, lab: Lab) -> None:
        assert self.failure(lab, address="255.255.255.255").kind == "no-route"

    def test_silent_when_it_accepts_and_says_nothing(self, lab: Lab) -> None:
        with Listener(lambda _: None) as mute:
            error = self.failure(lab, timeout=0.7, address=mute.address, port=mute.port)

        assert error.kind == "silent"
        assert "accepts connections but does not respond for 0.7 s" in str(error)

    def test_silent_when_it_hangs_after_its_greeting(self, lab: Lab) -> None:
        with Listener(lambda connection: connection.sendall(b"SSH-2.0-half\r\n")) as half:
            error = self.failure(lab, timeout=0.7, address=half.address, port=half.port)

        assert error.kind == "silent"

    @pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-1.0-old\r\n"])
    def test_refused_when_it_hangs_up_or_is_no_ssh_server(self, lab: Lab, greeting: bytes) -> None:
        def answer(connection: object) -> None:
            connection.sendall(greeting)  # type: ignore[attr-defined]
            connection.close()  # type: ignore[attr-defined]

        with Listener(answer) as other:
            assert self.failure(lab, address=other.address, port=other.port).kind == "refused"

    def test_auth_when_the_user_is_wrong(self, lab: Lab) -> None:
        error = self.failure(lab, user="ubuntu")

        assert error.kind == "auth"
        assert "user 'ubuntu'" in str(error)
        assert "ec2-user" in error.fix

    def test_auth_when_the_key_is_another(self, lab: Lab) -> None:
        path, _ = lab.new_key("other")

        error = self.failure(lab, key_file=path)

        assert error.kind == "auth"
        assert str(path) in str(error)

    def test_key_file_when_the_private_key_cannot_be_used(self, lab: Lab, tmp_path: Path) -> None:
        locked, garbage = tmp_path / "locked", tmp_path / "garbage"
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(locked, passphrase="secret", rounds=50)
        garbage.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n")
        expected = {
            tmp_path / "none": "cannot be read",
            locked: "protected by a passphrase",
            garbage: "not a private key",
        }

        for path, words in expected.items():
            error = self.failure(lab, key_file=path)

            assert error.kind == "key-file"
            assert words in str(error)

    def test_host_key_when_another_machine_answers_and_it_gets_nothing(self, lab: Lab, impostor: Lab) -> None:
        other, keys = impostor.host(), (impostor.host_key, lab.host_key)

        error = self.failure(lab, address=other.address, port=other.port)

        assert error.kind == "host-key"
        assert all(asyncssh.import_public_key(key).get_fingerprint() in str(error) for key in keys)
        assert "i-00" in str(error)
        assert set(impostor.events()) == {"connect"}

    @pytest.mark.parametrize("noted", ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", "what AAAA"])
    def test_host_key_when_none_is_known_and_not_even_a_packet_is_sent(self, lab: Lab, noted: str) -> None:
        before = lab.count("connect")

        assert self.failure(lab, host_key=noted).kind == "host-key"
        assert lab.count("connect") == before


class TestWaiting:
    def test_it_ends_as_soon_as_the_server_is_up(self, own_lab: Lab, links: SshClient) -> None:
        host = own_lab.host()
        own_lab.stop()
        starting = threading.Timer(0.7, own_lab.start)
        starting.start()

        waited = links.wait_until_ready(host, timeout_s=20)
        starting.join()

        assert 0.5 < waited < 10
        assert links.run(host, "echo up").stdout == "up\n"

    def test_the_last_reason_is_told_at_the_deadline(self, lab: Lab, links: SshClient) -> None:
        address, port = refusing()
        started = time.monotonic()

        with pytest.raises(ConnectError, match=r"gave up after \d s and \d+ attempts") as caught:
            links.wait_until_ready(lab.host(address=address, port=port), timeout_s=1)

        assert caught.value.kind == "refused"
        assert time.monotonic() - started < PATIENCE

    def test_it_ends_early_when_the_machine_died(self, lab: Lab, links: SshClient) -> None:
        address, port = refusing()
        answers = iter(["", "", "Server.InternalError"])

        with pytest.raises(HostError, match=r"stopped before SSH was up: Server\.InternalError"):
            links.wait_until_ready(
                lab.host(address=address, port=port), timeout_s=20, failure_reason=lambda: next(answers)
            )

    def test_a_refused_login_is_tried_three_times_at_most(self, lab: Lab) -> None:
        before = lab.count("login", 4)

        with SshClient(REAL_CLOCK, login_pauses_s=(0.05, 0.05)) as links, pytest.raises(ConnectError) as caught:
            links.wait_until_ready(lab.host(4, user="nobody"), timeout_s=20)

        assert caught.value.kind == "auth"
        assert lab.count("login", 4) - before == 3

    def test_a_login_that_is_let_in_late_succeeds(self, own_lab: Lab) -> None:
        authorized = own_lab.folder / "authorized"
        public = authorized.read_text()
        authorized.write_text("")

        def admit() -> None:
            eventually(lambda: own_lab.count("login") > 0)
            authorized.write_text(public)

        late = threading.Thread(target=admit)
        late.start()
        with SshClient(REAL_CLOCK, login_pauses_s=(0.5, 2.0)) as links:
            links.wait_until_ready(own_lab.host(), timeout_s=20)
        late.join()

        assert own_lab.count("login") in (2, 3)

    def test_a_wrong_host_key_is_not_tried_again(self, lab: Lab, impostor: Lab, links: SshClient) -> None:
        before = impostor.count("connect")

        with pytest.raises(ConnectError) as caught:
            links.wait_until_ready(impostor.host(host_key=lab.host_key), timeout_s=20)

        assert caught.value.kind == "host-key"
        assert impostor.count("connect") - before == 1
        assert set(impostor.events()) == {"connect"}


class TestStreams:
    def lines(self, lab: Lab, links: SshClient, command: str) -> list[str]:
        lines: list[str] = []
        assert links.stream(lab.host(), command, on_line=lines.append) == 0
        return lines

    def test_lines_come_while_the_command_runs(self, lab: Lab, links: SshClient) -> None:
        times: list[float] = []

        status = links.stream(
            lab.host(), "echo a; sleep 0.5; echo b >&2; exit 7", on_line=lambda _: times.append(time.monotonic())
        )

        assert status == 7
        assert times[1] - times[0] > 0.3

    def test_progress_bars_become_lines(self, lab: Lab, links: SshClient) -> None:
        assert self.lines(lab, links, r"printf '\r10%%\r20%%\r\nend\r\n\n\nx'") == ["10%", "20%", "end", "", "", "x"]

    def test_very_long_lines_come_in_pieces_with_nothing_lost(self, lab: Lab, links: SshClient) -> None:
        lines = self.lines(lab, links, python("print('\u00e9' * 1_000_000)"))

        assert max(len(line.encode()) for line in lines) <= 64 * 1024
        assert "".join(lines) == "\u00e9" * 1_000_000

    def test_fifty_megabytes_go_up_on_demand_while_output_flows(self, lab: Lab, links: SshClient) -> None:
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

        status = links.stream(lab.host(), python(program), on_line=on_line, respond=feed, timeout_s=60)

        assert status == 0
        assert digests == [hashlib.sha256(block * 50).hexdigest()]
        assert noise[0] >= 800 * 10_000

    def test_an_iterable_is_asked_for_as_the_host_takes_it(self, lab: Lab, links: SshClient) -> None:
        asked = [0]

        def chunks() -> Iterator[bytes]:
            for _ in range(1000):
                asked[0] += 1
                yield b"x" * 100_000

        status = links.stream(lab.host(), "head -c 10 >/dev/null", stdin=chunks(), on_line=lambda _: None)

        assert status == 0
        assert asked[0] < 500

    def test_an_upload_that_breaks_here_ends_the_stream_with_that_error(self, lab: Lab, links: SshClient) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"some"
            raise FileNotFoundError("gone")

        with pytest.raises(FileNotFoundError, match="gone"):
            links.stream(lab.host(), "cat; sleep 20", stdin=chunks(), on_line=lambda _: None)

    def test_what_a_listener_raises_is_handed_on_and_the_connection_lives(self, lab: Lab, links: SshClient) -> None:
        def stop(_: str) -> None:
            raise KeyboardInterrupt

        connection = links.connect(lab.host())
        with pytest.raises(KeyboardInterrupt):
            links.stream(lab.host(), "echo a; sleep 20", on_line=stop)

        assert links.connect(lab.host()) is connection
        assert links.run(lab.host(), "echo alive").ok


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(min_value=4, max_value=20))
def test_lines_are_the_same_however_the_bytes_are_cut(chunks: list[bytes], longest: int) -> None:
    whole, parts, text = LineSplitter(longest), LineSplitter(longest), b"".join(chunks)

    at_once = [*whole.feed(text), *whole.flush()]
    in_parts = [line for chunk in chunks if chunk for line in parts.feed(chunk)] + [*parts.flush()]

    assert at_once == in_parts
    assert all(len(line) <= longest for line in at_once)


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


def test_a_program_that_met_hanging_hosts_ends_at_once(lab: Lab) -> None:
    with Listener(lambda connection: connection.sendall(b"SSH-2.0-half\r\n")) as half:
        program = f"""
from pathlib import Path
from orchestrator.core.errors import ConnectError
from orchestrator.core.host import Host
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.ssh import SshClient
key = Path({str(lab.key_file)!r})
host = Host("ml-0", {half.address!r}, "", {half.port}, "dev", key, {lab.host_key!r}, "i-0")
try:
    SshClient(REAL_CLOCK, connect_timeout_s=0.5).connect(host)
except ConnectError as error:
    print(error.kind)
"""
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert (done.stdout, done.stderr) == ("silent\n", "")
    assert time.monotonic() - started < PATIENCE


def test_importing_costs_neither_fabric_nor_paramiko() -> None:
    program = (
        "import sys, orchestrator.ssh, orchestrator.hosts.parallel; print({'fabric', 'paramiko'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
