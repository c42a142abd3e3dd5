"""Names and values of variables, and names and contents of files, that look like credentials: the one list of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

# -- variables

_ANYWHERE = ("SECRET", "TOKEN", "PASSW", "PASSPHRASE", "CREDENTIAL", "PRIVATE", "AUTH", "APIKEY", "ACCESSKEY")
_PARTS = {"PAT", "PW", "CRED", "CREDS", "BEARER", "COOKIE", "COOKIES", "JWT", "DSN", "SIGNING", "SALT"}
_PART_ENDS = ("PASS", "PWD")
_NO_PASSWORDS = {"COMPASS", "BYPASS", "SURPASS", "TRESPASS", "OVERPASS", "UNDERPASS"}
_WORKING_DIRECTORIES = {"PWD", "OLDPWD"}
"""Variables of the shell, whose names look like that of a password."""

_VALUE = re.compile(
    # A URL with a password, a private key, and a connection string: "Server=db;User=u;Password=...".
    r"(?i)://[^/?#\s:@]*:[^/?#\s@]+@|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?:^|;)\s*(?:password|pwd|accountkey|sharedaccesskey|secret)\s*=\s*[^;\s]"
)


def is_credential_variable(name: str, value: str = "") -> bool:
    """Return True if a variable usually holds a credential: AWS_SECRET_ACCESS_KEY, GITHUB_TOKEN, DB_PASS, GH_PAT."""
    return (_is_credential_name(name.upper()) and name not in _WORKING_DIRECTORIES) or bool(_VALUE.search(value))


def _is_credential_name(name: str) -> bool:
    if any(fragment in name.replace("_", "") for fragment in _ANYWHERE):
        return True
    parts = [part.rstrip("0123456789") for part in name.split("_")]
    is_password = any(part.endswith(_PART_ENDS) and part not in _NO_PASSWORDS for part in parts)
    return is_password or parts[-1] == "KEY" or not _PARTS.isdisjoint(parts)


# -- files, by name

_FILES = (
    # of shells, version control and package managers
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".git-credentials", ".pypirc", ".npmrc", ".condarc"),
    *(".Renviron", ".htpasswd", ".pgpass", ".my.cnf", ".password-store", ".config/gh"),
    # of clouds and services
    *(".aws", ".azure", ".oci", ".kube", ".boto", ".s3cfg", ".config/gcloud", ".config/rclone", "rclone.conf"),
    *("application_default_credentials.json", "service[-_]account*.json", "client_secret*.json", "rootkey.csv"),
    *("*accessKeys.csv", ".databrickscfg", "kaggle.json", ".dockercfg", ".docker/config.json", ".vault-token"),
    *("hf_token", ".cache/huggingface/token", ".huggingface/token", "terraform.tfstate*", "*.tfvars"),
    # keys
    *(".ssh", ".gnupg", "*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "*.ed25519"),
    *("*_rsa", "*_dsa", "*_ecdsa", "*_ed25519", "*[-_]key.json"),
)
"""Files and folders that usually hold credentials, as ends of paths."""

_FILE = re.compile("(?i)(?:.*/)?(?:" + "|".join(map(fnmatch.translate, _FILES)) + ")")
_ENDINGS = {"", "txt", "csv", "json", "yaml", "yml", "toml", "ini", "cfg", "conf", "xml", "properties"}
"""Suffixes of files that may be named by a credential; programs (secrets.py) and data (token.npy) have others."""

_FIRST_OR_LAST_WORD = {"credentials", "secrets", "passwords"}
_LAST_WORD = {"credential", "secret", "password", "passwd", "token", "apikey", "accesskey", "accesskeys"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_TEMPLATE = re.compile(r"(?i).*\.(?:example|sample|template|dist)")
_COPY = re.compile(r"(?i)(?:~|\.(?:bak|old|orig|save|swp|copy|txt|\d+))$")
"""Ends of the names of backup copies."""


def is_credential_file(path: str, allowed: Sequence[str] = ()) -> bool:
    """Return True if a file or folder usually holds credentials.

    :param path: relative to the folder that is uploaded.
    :param allowed: names, paths or patterns of those that are uploaded nevertheless.
    """
    name = path.rpartition("/")[2]
    if is_allowed(path, allowed) or _TEMPLATE.fullmatch(name):
        return False
    return any(_is_named_so(text) for text in (path, _COPY.sub("", path)) if text)


def _is_named_so(path: str) -> bool:
    return bool(_FILE.fullmatch(path)) or _has_credential_words(path.rpartition("/")[2])


def _has_credential_words(name: str) -> bool:
    stem, _, suffix = name.rpartition(".") if "." in name[1:] else (name, "", "")
    name_parts = [word.lower() for word in _WORD.findall(stem)]
    if suffix.lower() not in _ENDINGS or not name_parts:
        return False
    last_two = "".join(name_parts[-2:])
    return name_parts[0] in _FIRST_OR_LAST_WORD or bool({name_parts[-1], last_two} & (_FIRST_OR_LAST_WORD | _LAST_WORD))


def is_allowed(path: str, allowed: Sequence[str]) -> bool:
    """Return True if the user's config allows a file to be uploaded: by the name or path of it, or of a folder of it.

    :param allowed: names and paths, or patterns of them.
    """
    parts = [path, *map(str, PurePosixPath(path).parents)] if allowed else []
    texts = [text for part in parts for text in (part.rpartition("/")[2], part)]
    return any(fnmatch.fnmatch(text, pattern) for text in texts for pattern in allowed)


def credential_part(path: Path, allowed: Sequence[str] = ()) -> str:
    """Return the first part of a relative path that holds credentials, as a path; empty if none does."""
    pure = PurePosixPath(path.as_posix())
    parts = [str(part) for part in reversed((pure, *pure.parents))]
    return next((part for part in parts if is_credential_file(part, allowed)), "")


# -- files, by content

MAX_CREDENTIAL_BYTES = 256 * 1024
"""Larger files are not searched."""

# Begin with a text that is found fast: a pattern alone would take longer than reading the file.
_CONTENTS = {
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    b"AKIA": re.compile(rb"\bAKIA[A-Z0-9]{16}\b"),
    b"ASIA": re.compile(rb"\bASIA[A-Z0-9]{16}\b"),
    b"aws_secret_access_key": re.compile(rb"aws_secret_access_key\s*=\s*[\w/+]{40}"),
    b"PRIVATE KEY-----": re.compile(rb"^-----BEGIN [A-Z ]*PRIVATE KEY-----\s*$", re.MULTILINE),
    # https://docs.github.com/en/authentication (formats of tokens)
    b"ghp_": re.compile(rb"\bghp_[A-Za-z0-9]{36}\b"),
    b"github_pat_": re.compile(rb"\bgithub_pat_\w{22,}"),
    b"hf_": re.compile(rb"\bhf_[A-Za-z0-9]{34,}\b"),
    b"xoxb-": re.compile(rb"\bxoxb-\d+-\d+-\w+"),
    b"AIza": re.compile(rb"\bAIza[\w-]{35}\b"),
}


def holds_credential(content: bytes) -> bool:
    """Return True if the content of a small file has a key of AWS, a private key or a token in it."""
    return len(content) <= MAX_CREDENTIAL_BYTES and any(
        text in content and pattern.search(content) for text, pattern in _CONTENTS.items()
    )
