"""Parts of this computer that a job may carry to its VMs, and what looks like a credential: the one list of both."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.config.options import JobSettings

CREDENTIAL_NAME = re.compile(
    r"(?i)secret|token|passw|passphrase|credential|private|auth|api_?key|access_?key|(^|_)key$"
    # As the end of a part: DB_PASS, SSHPASS, MYSQL_PWD, GH_PAT; not PASSES, PATH or PATTERN.
    r"|(?<!com)(?<!by)(?<!sur)(?<!tres)(?<!over)(?<!under)pass(?=_|\d*$)|pwd(?=_|\d*$)|(^|_)(pat|creds?|pw)(?=_|\d*$)"
)
"""Names of variables that usually hold credentials: AWS_SECRET_ACCESS_KEY, GITHUB_TOKEN, WANDB_API_KEY."""

WORKING_DIRECTORIES = ("PWD", "OLDPWD")
"""Variables of the shell, whose names look like that of a password."""

CREDENTIAL_VALUE = re.compile(r"://[^/?#\s:@]*:[^/?#\s@]+@|-----BEGIN [A-Z ]*PRIVATE KEY")
"""A URL with a password, and a private key."""

CREDENTIAL_FILES = (
    *(".aws", ".ssh", ".azure", ".kube", ".gnupg", ".env", ".env.*", ".envrc", ".netrc", "_netrc", ".boto", ".s3cfg"),
    *("*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519"),
    *(
        "id_ed25519_sk",
        "*.ed25519",
        ".git-credentials",
        ".pypirc",
        ".npmrc",
        ".pgpass",
        ".my.cnf",
        ".dockercfg",
        "kaggle.json",
    ),
    *(".docker/config.json", "application_default_credentials.json", ".config/gcloud", ".config/gh", ".config/rclone"),
    *(".cache/huggingface/token", ".huggingface/token", ".vault-token", ".password-store"),
)
"""Files and folders that usually hold credentials, as ends of paths."""

_CREDENTIAL_FILE = re.compile("(?i)(?:.*/)?(?:" + "|".join(map(fnmatch.translate, CREDENTIAL_FILES)) + ")")
_TEMPLATE = re.compile(r"(?i)\.env\.(example|sample|template|dist)")
NAMES_SHOWN = 5


@dataclass(frozen=True)
class Access:
    """Parts of this computer, besides the job's folder, that the user's config lets a job carry to its VMs.

    A job's folder may come from another person: the user's own config decides on what it may read.

    :param folders: that its data and requirements may be in.
    :param variables: names of variables that it may use although they look like credentials.
    :param files: names or patterns of files that it may upload although they look like credentials.
    """

    folders: tuple[Path, ...] = ()
    variables: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: JobSettings) -> Access:
        """Return what the section [job] of a config allows."""
        folders = tuple(Path(line).expanduser().resolve() for line in options.allow_folders)
        return cls(folders, tuple(options.allow_variables.replace(",", " ").split()), options.allow_files)

    def refuse_variable(self, name: str, value: str) -> str:
        """Return why a job may not use a variable; empty if it may."""
        is_named_so = CREDENTIAL_NAME.search(name) and name not in WORKING_DIRECTORIES
        if name in self.variables or not (is_named_so or CREDENTIAL_VALUE.search(value)):
            return ""
        return (
            f"{name} looks like a credential, which would be stored on the VMs; "
            f"to allow it: [job] allow_variables = {name} in your config"
        )

    def refuse_path(self, folder: Path, path: Path) -> str:
        """Return why a job may not read a path; empty if it may.

        :param folder: of the job.
        """
        # Resolved: a link in the folder may lead anywhere.
        target = path.resolve()
        tops = [top for top in (folder.resolve(), *self.folders) if target.is_relative_to(top)]
        if not tops:
            return f"{target} is outside the job's folder; to allow it: [job] allow_folders = {target} in your config"
        credentials = [credential_part(target.relative_to(top), self.files) for top in tops]
        if not all(credentials):
            return ""
        return (
            f"{credentials[0]} looks like a credential, which would be stored on the VMs; "
            f"to allow it: [job] allow_files = {credentials[0]} in your config"
        )


def is_credential_file(path: str, allowed: Sequence[str] = ()) -> bool:
    """Return True if a file or folder usually holds credentials.

    :param path: relative to the folder that is uploaded.
    :param allowed: names, paths or patterns of those that are uploaded nevertheless.
    """
    name = path.rpartition("/")[2]
    if any(fnmatch.fnmatch(text, pattern) for text in (name, path) for pattern in allowed):
        return False
    return bool(_CREDENTIAL_FILE.fullmatch(path)) and not _TEMPLATE.fullmatch(name)


def credential_part(path: Path, allowed: Sequence[str] = ()) -> str:
    """Return the first part of a relative path that holds credentials, as a path; empty if none does."""
    pure = PurePosixPath(path.as_posix())
    parts = [str(part) for part in reversed((pure, *pure.parents))]
    return next((part for part in parts if is_credential_file(part, allowed)), "")


def left_out_warning(names: Sequence[str]) -> str:
    """Return the line on files that are not uploaded because they look like credentials."""
    listed = ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN} more" if names[NAMES_SHOWN:] else "")
    return f"not uploaded, as it looks like a credential: {listed}; to upload it: [job] allow_files in your config"
