"""User data parsed into values, as cloud-init would read it. Nothing is written or run here."""

from __future__ import annotations

import base64
import binascii
import email
import email.policy
import gzip
import posixpath
import shlex
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_SUPPORTED = frozenset(
    {"ssh_keys", "ssh_deletekeys", "ssh_genkeytypes", "ssh_authorized_keys", "write_files", "bootcmd", "runcmd"}
)
_GZIP_MAGIC = b"\x1f\x8b"
_TEXT_ENCODINGS = ("", "text/plain")


@dataclass(frozen=True)
class WriteFile:
    """One entry of ``write_files``.

    :param path: relative to the host's root folder.
    """

    path: str
    content: bytes
    mode: int
    append: bool


@dataclass(frozen=True)
class UserData:
    """Contents of user data.

    :param host_keys: private keys by key type (``ed25519``).
    :param authorized_keys: public keys in addition to the key pair's.
    :param files: files to write at the first boot.
    :param bootcmd: shell script of every boot, before SSH is up; empty for none.
    :param runcmd: shell script of the first boot, after SSH is up; empty for none.
    :param scripts: whole ``#!`` scripts of the first boot, after ``runcmd``.
    :param warnings: what is not supported, for the console.
    """

    host_keys: Mapping[str, str] = field(default_factory=dict)
    authorized_keys: tuple[str, ...] = ()
    files: tuple[WriteFile, ...] = ()
    bootcmd: str = ""
    runcmd: str = ""
    scripts: tuple[bytes, ...] = ()
    warnings: tuple[str, ...] = ()


def parse(data: bytes) -> UserData:
    """Return the contents of user data in any supported form: cloud-config, scripts, MIME multipart, gzip.

    A mistake in user data never stops a boot, as with cloud-init: it becomes one of the ``warnings``.
    """
    parts = [_part(part) for part in _parts(_unzip(data))]
    return UserData(
        host_keys={kind: key for part in parts for kind, key in part.host_keys.items()},
        authorized_keys=tuple(key for part in parts for key in part.authorized_keys),
        files=tuple(file for part in parts for file in part.files),
        bootcmd="".join(part.bootcmd for part in parts),
        runcmd="".join(part.runcmd for part in parts),
        scripts=tuple(script for part in parts for script in part.scripts),
        warnings=tuple(warning for part in parts for warning in part.warnings),
    )


def _unzip(data: bytes) -> bytes:
    # cloud-init recognizes gzip by its content, too.
    if not data.startswith(_GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return data


def _parts(data: bytes) -> Iterator[bytes]:
    head = data[:512].lower()
    if head.startswith((b"content-type:", b"mime-version:")) and b"multipart/" in head:
        message = email.message_from_bytes(data, policy=email.policy.default)
        for part in message.walk():
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                yield _unzip(payload)
    elif data.strip():
        yield data


def _part(data: bytes) -> UserData:
    if data.startswith(b"#!"):
        return UserData(scripts=(data,))
    if data.startswith(b"#cloud-config"):
        return _cloud_config(data)
    first = data.splitlines()[0][:40] if data.strip() else b""
    return UserData(warnings=(f"Unhandled non-multipart (text/x-not-multipart) userdata: {first!r}",))


def _cloud_config(data: bytes) -> UserData:
    try:
        config = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return UserData(warnings=(f"Failed loading yaml blob: {' '.join(str(error).split())}",))
    if not isinstance(config, dict):
        return UserData(warnings=("Failed loading yaml blob: a mapping was expected",) if config is not None else ())
    files, file_warnings = _files(config.get("write_files"))
    ignored = sorted(str(name) for name in config if name not in _SUPPORTED)
    return UserData(
        host_keys=_host_keys(config.get("ssh_keys")),
        authorized_keys=tuple(str(key).strip() for key in _listed(config.get("ssh_authorized_keys"))),
        files=tuple(files),
        bootcmd=_shellify(_listed(config.get("bootcmd"))),
        runcmd=_shellify(_listed(config.get("runcmd"))),
        warnings=(*file_warnings, *(f"{name}: not supported by the embedded cloud" for name in ignored)),
    )


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _host_keys(value: object) -> dict[str, str]:
    keys = value if isinstance(value, dict) else {}
    return {
        str(name).removesuffix("_private"): str(key)
        for name, key in keys.items()
        if str(name).endswith("_private") and "/" not in str(name)
    }


def _shellify(items: Iterable[object]) -> str:
    """Return a script with one line per item, as cloud-init does: lists are words, strings are shell code."""
    lines = (shlex.join(map(str, item)) if isinstance(item, list) else str(item) for item in items)
    return "".join(line.rstrip("\n") + "\n" for line in lines)


def _files(value: object) -> tuple[list[WriteFile], list[str]]:
    files, warnings = [], []
    for entry in _listed(value):
        try:
            files.append(_file(entry))
        except (KeyError, TypeError, ValueError, OSError, EOFError, zlib.error, AttributeError) as error:
            warnings.append(f"write_files: an entry was skipped: {type(error).__name__}: {error}")
    return files, warnings


def _file(entry: Mapping[str, Any]) -> WriteFile:
    # YAML reads 0644 as a number, and '0644' as text.
    permissions = entry.get("permissions", 0o644)
    return WriteFile(
        # Normalized as an absolute path, so that no ".." leads out of the host's folder.
        path=posixpath.normpath("/" + str(entry["path"])).lstrip("/"),
        content=_decode(str(entry.get("content", "")), str(entry.get("encoding") or "").lower()),
        mode=int(permissions, 8) if isinstance(permissions, str) else int(permissions),
        append=bool(entry.get("append", False)),
    )


def _decode(content: str, encoding: str) -> bytes:
    kinds = set(encoding.replace("gzip", "gz").replace("base64", "b64").split("+"))
    if encoding in _TEXT_ENCODINGS:
        return content.encode()
    if not kinds <= {"gz", "b64"}:
        raise ValueError(f"unknown encoding {encoding!r}")
    try:
        # Without base64, compressed content is text with one character per byte.
        data = base64.b64decode(content) if "b64" in kinds else content.encode("latin-1")
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    return gzip.decompress(data) if "gz" in kinds else data
