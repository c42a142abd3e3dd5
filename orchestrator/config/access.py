"""Parts of this computer that a job may carry to its VMs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.credentials import credential_part, is_credential_variable
from orchestrator.config.options import JobSettings

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
        if name in self.variables or not is_credential_variable(name, value):
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


def left_out_warning(names: Sequence[str]) -> str:
    """Return the line on files that are not uploaded because they look like credentials."""
    listed = ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN} more" if names[NAMES_SHOWN:] else "")
    return f"not uploaded, as it looks like a credential: {listed}; to upload it: [job] allow_files in your config"
