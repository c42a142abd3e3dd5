"""Install a requirements file with uv as pip would: with pip's own configuration; run by steps/requirements.sh.

    python uv_install.py UV FILE [PIP-OPTION...]
    python uv_install.py --wheel [PIP-OPTION...]     prints the address of uv's wheel for this host, with its checksum

Exit status 64: an option or setting of pip has no counterpart in uv, so pip has to install the file.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

NO_COUNTERPART = 64

# https://docs.astral.sh/uv/pip/compatibility/ and https://pip.pypa.io/en/stable/topics/configuration/
WITH_VALUE = {
    "index-url": "--default-index",
    "i": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "f": "--find-links",
    "trusted-host": "--allow-insecure-host",
    "constraint": "--constraint",
    "c": "--constraint",
    "only-binary": "--only-binary",
    "no-binary": "--no-binary",
}
FLAGS = {"no-index": ["--no-index"], "no-deps": ["--no-deps"], "pre": ["--prerelease", "allow"]}
CERTIFICATES = ("cert",)
# They change what pip prints, how long it tries, and where it keeps files: not what it installs.
IGNORED_WITH_VALUE = ("timeout", "default-timeout", "retries", "progress-bar", "cache-dir", "root-user-action", "log")
IGNORED_FLAGS = ("disable-pip-version-check", "no-input", "quiet", "q", "verbose", "v", "no-color", "no-cache-dir")
OTHER_NAMES = ("no-compile", "compile", "prefer-binary", "require-virtualenv", "break-system-packages", "config-file")

PYPI = "https://pypi.org/simple"
JSON_INDEX = "application/vnd.pypi.simple.v1+json"
"""https://packaging.python.org/en/latest/specifications/simple-repository-api/"""

INDEX_TIMEOUT_S = 5.0
MAX_INDEX_BYTES = 64 << 20

Setting = tuple[str, str]


class Untranslatable(Exception):
    """A setting of pip without a counterpart in uv."""


def config_files(env: Mapping[str, str]) -> list[Path]:
    """Return the files that pip reads, the most important last."""
    home = Path(env.get("HOME", "/"))
    names = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        home / ".config/pip/pip.conf",
    ]
    return [
        *names,
        Path(sys.prefix) / "pip.conf",
        *([Path(env["PIP_CONFIG_FILE"])] if "PIP_CONFIG_FILE" in env else []),
    ]


def configured(env: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings from files and variables."""
    settings: dict[str, str] = {}
    parser = configparser.RawConfigParser()
    for section in ("global", "install"):
        for path in config_files(env):
            parser.clear()
            parser.read(path, encoding="utf-8")
            settings |= {name.replace("_", "-"): value for name, value in _items(parser, section) if value}
    # pip ignores empty values.
    variables = [(name, value) for name, value in env.items() if name.startswith("PIP_") and value]
    return settings | {name[4:].lower().replace("_", "-"): value for name, value in variables}


def _items(parser: configparser.RawConfigParser, section: str) -> Iterator[Setting]:
    return iter(parser.items(section) if parser.has_section(section) else ())


def parse_options(words: Sequence[str]) -> Iterator[Setting]:
    """Yield (name, value) of command-line options; an empty value for a flag.

    :raises Untranslatable: a word that is no known option.
    """
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        key = name.lstrip("-")
        if not name.startswith("-"):
            raise Untranslatable(name)
        takes_value = key in (*WITH_VALUE, *CERTIFICATES, *IGNORED_WITH_VALUE)
        yield key, rest.pop(0) if takes_value and not equals and rest else value


def uv_options(settings: Iterator[Setting]) -> list[str]:
    """Return settings of pip as options of uv.

    :raises Untranslatable: one has no counterpart.
    """
    options: list[str] = []
    for name, value in settings:
        if name in WITH_VALUE:
            options += [word for item in value.split() for word in (WITH_VALUE[name], item)]
        elif name in FLAGS:
            options += FLAGS[name] if value.lower() not in ("0", "no", "false", "off") else []
        elif name not in (*CERTIFICATES, *IGNORED_WITH_VALUE, *IGNORED_FLAGS, *OTHER_NAMES):
            raise Untranslatable(name)
    return options


def wheel(settings: Mapping[str, str]) -> str:
    """Return the address of the newest uv for this host, with its SHA-256, which pip verifies.

    pip itself considers all 6,000 files of uv in the index one by one, which takes longer than all that follows.

    :param settings: of pip.
    :raises LookupError: pip has to look for it.
    :raises OSError: the index does not answer.
    """
    # Here: an install with uv does not need them.
    import gzip
    import json
    import ssl
    from urllib.parse import urljoin
    from urllib.request import Request, urlopen

    from pip._vendor.packaging.tags import platform_tags
    from pip._vendor.packaging.utils import parse_wheel_filename

    index = settings.get("i") or settings.get("index-url") or PYPI
    if {"no-index", "proxy", "client-cert"} & settings.keys() or "@" in index or not is_secure(index):
        raise LookupError(index)
    request = Request(index.rstrip("/") + "/uv/", headers={"Accept": JSON_INDEX, "Accept-Encoding": "gzip"})
    trust = ssl.create_default_context(cafile=settings.get("cert"))
    with urlopen(request, timeout=INDEX_TIMEOUT_S, context=trust) as answer:
        page, text = answer.url, answer.read(MAX_INDEX_BYTES)
        files = json.loads(gzip.decompress(text) if answer.headers["Content-Encoding"] == "gzip" else text)["files"]
    supported = set(platform_tags())
    # name-version-python-abi-platform.platform.whl: most of them are for others.
    fitting = [
        file
        for file in files
        if not file.get("yanked") and supported & {*file["filename"].removesuffix(".whl").rpartition("-")[2].split(".")}
    ]
    newest = max(fitting, key=lambda file: parse_wheel_filename(file["filename"])[1])
    address = urljoin(page, newest["url"]).partition("#")[0]
    if not is_secure(page) or not is_secure(address):
        raise LookupError(address)
    return f"{address}#sha256={newest['hashes']['sha256']}"


def is_secure(address: str) -> bool:
    """Return True if the other side of an address proves what it is."""
    return address.startswith("https://")


def print_wheel(words: Sequence[str]) -> int:
    """Print the address of uv's wheel; nothing if pip has to look for it."""
    try:
        print(wheel(configured(os.environ) | dict(parse_options(words))))
    # An index in another format, or none, or a pip with other parts: all of that is pip's own work.
    except (Untranslatable, OSError, LookupError, ValueError, TypeError, AttributeError, ImportError):
        return NO_COUNTERPART
    return 0


def main(uv: str, file: str, words: Sequence[str]) -> int:
    """Replace this process by uv; return only if it cannot stand in for pip."""
    settings = configured(os.environ)
    try:
        on_command_line = list(parse_options(words))
        # Those of pip that take one value are replaced by the command line, the others are added to.
        once = {"index-url", "i", "cert"} & {name for name, _ in on_command_line}
        merged = [*(item for item in settings.items() if item[0] not in once), *on_command_line]
        options = uv_options(iter(merged))
    except Untranslatable as error:
        print(f"uv has no {error} of pip")
        return NO_COUNTERPART
    certificates = dict(merged).get("cert", "")
    trust = {"SSL_CERT_FILE": certificates} if certificates else {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    # pip takes the best version of all indexes; uv by default only looks into the first that has the package.
    command = [uv, "pip", "install", "--python", sys.executable, "--index-strategy", "unsafe-best-match"]
    os.execve(uv, [*command, *options, "--requirement", file], os.environ | trust)


if __name__ == "__main__":
    is_wheel = sys.argv[1] == "--wheel"
    sys.exit(print_wheel(sys.argv[2:]) if is_wheel else main(sys.argv[1], sys.argv[2], sys.argv[3:]))
