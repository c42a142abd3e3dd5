"""uv in the place of pip: with pip's configuration, where it can stand in, and pip where it cannot."""

from __future__ import annotations

import gzip
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.crypto.tls import generate_cluster_tls
from tests.support.host_tools import HostWithTools
from tests.support.paths import ROOT
from tests.support.script_host import states

RECORDER = """#!/bin/sh
[ "$2" = freeze ] && printf '%s\\n' pip==26.0 numpy==2.1 && exit
printf '%s\\n' "$@" "SSL_CERT_FILE=${SSL_CERT_FILE:-}" >"$HOME/uv-call"
"""
EMPTY = {"PIP_FIND_LINKS": "", "PIP_CERT": "", "PIP_INDEX_URL": "", "PIP_CONFIG_FILE": "", "PIP_EXTRA_INDEX_URL": ""}


@pytest.fixture
def host(tmp_path: Path) -> HostWithTools:
    """A host with uv, and a job's environment whose pip only reports that it is called."""
    home = tmp_path / "home"
    (home / "stratus/tools/bin").mkdir(parents=True)
    (home / "stratus/venvs/job/bin").mkdir(parents=True)
    uv = home / "stratus/tools/bin/uv"
    uv.write_text(RECORDER)
    python = home / "stratus/venvs/job/bin/python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] && echo "pip $4" && exit 0\nexec {sys.executable} "$@"\n')
    for program in (uv, python):
        program.chmod(0o755)
    return HostWithTools(home, EMPTY)


def install(host: HostWithTools, *options: str) -> list[str]:
    """Install a requirements file with options of pip; return all lines."""
    plan = [["requirements", "requirements.sh", "job", "1", "requirements.txt", *options]]
    status, lines = host.install(plan, None, **{"requirements.txt": b"numpy\n"})
    assert (status, states(lines)) == (0, ["requirements done"])
    return lines


def call_of(host: HostWithTools) -> list[str]:
    """Return the words of the call of uv."""
    return (host.home / "uv-call").read_text().splitlines()


def test_uv_gets_pips_configuration_and_options(host: HostWithTools) -> None:
    """The command line replaces an index of the configuration, and adds to its lists."""
    (host.home / ".pip").mkdir()
    text = "[global]\nindex-url = https://old/\nextra-index-url = https://a/ https://b/\ncert = /ca.pem\ntimeout = 9\n"
    (host.home / ".pip/pip.conf").write_text(text)
    lines = install(host, "--index-url=https://new/", "--pre", "--find-links", "/wheels", "--progress-bar", "off")
    call = call_of(host)
    # Listed as pip lists them, which takes ten times as long.
    assert (host.home / "stratus/venvs/job/.stratus-versions").read_text() == "numpy==2.1\n"

    assert call[:2] == ["pip", "install"]
    pairs = list(pairwise(call))
    for pair in [
        ("--default-index", "https://new/"),
        ("--index", "https://a/"),
        ("--index", "https://b/"),
        ("--find-links", "/wheels"),
        ("--prerelease", "allow"),
        ("--index-strategy", "unsafe-best-match"),
    ]:
        assert pair in pairs
    assert "https://old/" not in call
    assert call[-1] == "SSL_CERT_FILE=/ca.pem"
    assert not any(line == "pip install" for line in lines)


def test_pip_installs_what_uv_has_no_option_for(host: HostWithTools) -> None:
    lines = install(host, "--use-pep517")

    assert "uv has no use-pep517 of pip" in lines
    assert "pip install" in lines
    assert not (host.home / "uv-call").exists()


def test_pip_decides_about_what_uv_refuses(host: HostWithTools) -> None:
    (host.home / "stratus/tools/bin/uv").write_text("#!/bin/sh\necho no solution\nexit 1\n")
    lines = install(host)

    assert lines.index("no solution") < lines.index("uv did not install them: pip does") < lines.index("pip install")


@pytest.mark.parametrize("mark", ["python3 yes", "conda 0123"])
def test_pip_installs_beside_packages_that_uv_does_not_see(host: HostWithTools, mark: str) -> None:
    (host.home / "stratus/venvs/job/.stratus-python").write_text(f"{mark}\n")

    assert "pip install" in install(host)
    assert not (host.home / "uv-call").exists()


def test_a_host_without_a_way_to_uv_tries_once(host: HostWithTools) -> None:
    (host.home / "stratus/tools/bin/uv").unlink()
    host.tool("timeout", "exit 1\n")
    first = install(host)
    (host.home / "stratus/venvs/job/.stratus-requirements").unlink()
    second = install(host)

    bringing = "@@say bringing uv, which installs packages faster than pip"
    assert (first.count(bringing), second.count(bringing)) == (1, 0)
    assert "pip install" in second


def file_of(version: str, platform: str, **more: object) -> dict[str, object]:
    """Return an entry of an index."""
    name = f"uv-{version}-py3-none-{platform}.whl"
    return {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": f"{version}-hash"}, **more}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, dict[str, list[dict[str, object]]]]]:
    """A package index; its address, and its page about uv."""
    page: dict[str, list[dict[str, object]]] = {"files": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/simple/uv/" else 404)
            is_packed = "gzip" in self.headers.get("Accept-Encoding", "")
            if is_packed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            text = json.dumps(page).encode()
            self.wfile.write(gzip.compress(text) if is_packed else text)

        def log_message(self, *_: object) -> None:
            pass

    tls = generate_cluster_tls(["localhost"], datetime.now(UTC))
    (tmp_path / "ca.pem").write_text(tls.ca)
    (tmp_path / "server.pem").write_text(tls.key + tls.cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://localhost:{server.server_port}/simple", page
        server.shutdown()


def wheel_of(index: str, ca: Path, *options: str) -> str:
    """Return the address of uv's wheel; nothing if pip has to look for it."""
    script = ROOT / "orchestrator/remote/uv_install.py"
    command = [sys.executable, str(script), "--wheel", "--index-url", index, "--cert", str(ca), *options]
    env = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "HOME": str(ca.parent)}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode == 0) == bool(result.stdout), result
    return result.stdout.strip()


def test_the_newest_wheel_of_uv_that_fits_is_found(
    index: tuple[str, dict[str, list[dict[str, object]]]], tmp_path: Path
) -> None:
    """Without pip, which considers every file of an index; with its certificates."""
    address, page = index
    pytest.importorskip("pip")
    linux = f"manylinux_2_17_{os.uname().machine}.manylinux2014_{os.uname().machine}"
    page["files"] = [
        file_of("0.9.0", linux),
        file_of("0.10.0", linux),
        file_of("0.11.0", linux, yanked="broken"),
        file_of("0.12.0", "win_amd64"),
        {"filename": "uv-0.12.0.tar.gz", "url": "x", "hashes": {}},
    ]
    name = f"uv-0.10.0-py3-none-{linux}.whl"

    assert wheel_of(address, tmp_path / "ca.pem") == f"{address.removesuffix('simple')}files/{name}#sha256=0.10.0-hash"
    page["files"][1]["url"] = f"http://elsewhere/{name}"
    assert wheel_of(address, tmp_path / "ca.pem") == ""


def test_pip_looks_for_uv_where_an_index_is_another_or_not_trusted(
    index: tuple[str, dict[str, list[dict[str, object]]]], tmp_path: Path
) -> None:
    address, _ = index
    pytest.importorskip("pip")
    (tmp_path / "other.pem").write_text(generate_cluster_tls(["localhost"], datetime.now(UTC)).ca)

    assert wheel_of(address, tmp_path / "ca.pem") == ""
    assert wheel_of(address, tmp_path / "other.pem") == ""
    assert wheel_of(address, tmp_path / "ca.pem", "--no-index") == ""
    assert wheel_of("http://localhost/simple", tmp_path / "ca.pem") == ""
