"""Verbs on data in S3: upload, download, synchronize, list, and unfinished uploads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.interaction import (
    Confirmation,
    check_number,
    confirm,
    interruptible,
    raise_if_failed,
    show,
)
from orchestrator.interface.verbs.parameters import Consent, JobOption, VerbParameter, decimal_number

if TYPE_CHECKING:
    from orchestrator.hosts.transfer import HostTransfer
    from orchestrator.install.sending import HostTransfers
    from orchestrator.interface.workspace import Workspace
    from orchestrator.services.instance_roles import InstanceRoleEnd, InstanceRolePlan
    from orchestrator.services.storage import AbortReport, DataListing, TransferReport

GROUP = VerbGroup("Data")

URL = "s3://my-bucket/data"
UPLOAD = NextStep("Upload", "data", URL)
DOWNLOAD = NextStep("Download", URL, "data")
RECEIVE = NextStep("Receive", "work/model.bin", "models", "ml-0")

Url = Annotated[str, VerbParameter(metavar="S3-URL", positional=True)]
LocalPath = Annotated[str, VerbParameter(metavar="PATH", positional=True)]
Host = Annotated[str, VerbParameter(metavar="HOST", positional=True, also_option=True, completes="host")]
Remote = Annotated[str, VerbParameter(metavar="REMOTE", positional=True)]
Urls = Annotated[str, VerbParameter(metavar="URL")]
Limit = Annotated[float, VerbParameter(metavar="MB/S", parse=decimal_number)]


@GROUP.verb("Upload", "upload", examples=(UPLOAD,))
def upload(
    workspace: Workspace, path: LocalPath, url: Url, *, limit: Limit = 0, requester_pays: bool = False
) -> TransferReport:
    """Upload a file or a folder to S3.

    Large files are sent in parts, and S3 checks each. After a cut or a kill, the same call sends what is missing.
    Files that are there already, by their checksums, are not sent again.

    path            the file, or the folder whose files are sent with their relative names.
    url             the object, or the folder: a URL that ends in a slash.
    limit           megabytes per second at most (default: no limit).
    requester_pays  you pay for the transfer, which some buckets require.

    Costs  requests and storage at S3's prices; parts of an unfinished upload, too, until it is continued or aborted.
    """
    from orchestrator.services.storage import TransferOptions

    options, again = TransferOptions(False, requester_pays, _bytes_per_s(limit)), _given(limit, requester_pays)
    advice = NextStep("Upload", path, url, **again) + "  continues; "
    advice += NextStep("AbortUploads", url) + "  drops what was sent"
    with interruptible(workspace, "What was sent stays, and is billed.", advice):
        report = workspace.session().storage.upload(_local(path, NextStep("Download", path)), url, options)
    return _shown(workspace, report)


@GROUP.verb("Download", "download", examples=(DOWNLOAD,))
def download(
    workspace: Workspace,
    url: Url,
    path: LocalPath = ".",
    *,
    public: bool = False,
    limit: Limit = 0,
    requester_pays: bool = False,
) -> TransferReport:
    """Download an object, or all below a prefix, from S3.

    Objects are fetched in parts and checked by their checksums. After a cut or a kill, the same call fetches what is
    missing. An object that changes meanwhile is refused.

    url             the object, or the folder.
    path            the file or folder to write (default: the present folder).
    public          without credentials, from a public bucket.
    limit           megabytes per second at most (default: no limit).
    requester_pays  you pay for the transfer, which some buckets require.

    Costs  about $0.09 per GB from AWS to the internet.
    """
    from orchestrator.services.storage import TransferOptions

    options = TransferOptions(public, requester_pays, _bytes_per_s(limit))
    again = NextStep("Download", url, path, **_given(limit, requester_pays, public=public))
    with interruptible(workspace, "What was fetched stays.", again + "  continues"):
        report = workspace.session().storage.download(url, _target(path), options)
    return _shown(workspace, report)


@GROUP.verb("Sync", "sync", examples=(NextStep("Sync", "data", URL), NextStep("Sync", URL, "data")))
def sync(
    workspace: Workspace,
    source: Annotated[str, VerbParameter(metavar="FROM", positional=True)],
    target: Annotated[str, VerbParameter(metavar="TO", positional=True)],
    *,
    public: bool = False,
    limit: Limit = 0,
    requester_pays: bool = False,
) -> TransferReport:
    """Copy what is new or changed between a folder and S3.

    Files of the same size that are not newer than their object are not read. Nothing is deleted.

    source          a folder, or an S3 URL.
    target          an S3 URL, or a folder.
    public          without credentials, from a public bucket.
    limit           megabytes per second at most (default: no limit).
    requester_pays  you pay for the transfer, which some buckets require.

    Costs  as an upload or a download of what is copied.
    """
    from orchestrator.services.storage import TransferOptions

    options = TransferOptions(public, requester_pays, _bytes_per_s(limit))
    for path in (source, target):
        _path(path)
    again = NextStep("Sync", source, target, **_given(limit, requester_pays, public=public))
    with interruptible(workspace, "What was copied stays.", again + "  continues"):
        report = workspace.session().storage.sync(source, target, options)
    return _shown(workspace, report)


@GROUP.verb("ListData", "list-data", examples=(NextStep("ListData", URL),))
def list_data(workspace: Workspace, url: Url, *, public: bool = False, requester_pays: bool = False) -> DataListing:
    """List objects in S3, and incomplete uploads.

    url             the bucket or folder.
    public          without credentials, of a public bucket.
    requester_pays  you pay for the request, which some buckets require.

    Costs  a request at S3's prices.
    """
    from orchestrator.services.storage import TransferOptions

    return show(workspace, workspace.session().storage.list(url, TransferOptions(public, requester_pays)))


@GROUP.verb("AbortUploads", "abort-uploads", examples=(NextStep("AbortUploads"), NextStep("AbortUploads", URL)))
def abort_uploads(workspace: Workspace, url: Url = "") -> AbortReport:
    """Drop the parts of uploads that are not complete.

    S3 bills such parts until the upload is completed or aborted.

    url  the bucket or folder, with the uploads of other computers, too (default: the uploads that this computer began).

    Costs  nothing.
    """
    return show(workspace, workspace.session().storage.abort(url))


def _path(text: str) -> Path:
    """Return a path.

    :raises UsageError: no file can have it.
    """
    if "\0" in text:
        raise UsageError(f"{text!a} is not a path")
    return Path(text)


def _local(text: str, instead: NextStep) -> Path:
    """Return a path of this computer.

    :param instead: what works with an S3 URL.
    :raises UsageError: it is an S3 URL, or no path.
    """
    if text.startswith("s3://"):
        raise UsageError("on S3; this is the place for a file or a folder here", where=text, fix=instead)
    return _path(text)


def _given(limit: float, requester_pays: bool, *, public: bool = False) -> dict[str, Any]:
    """Return the options that are not at their defaults, to be typed again."""
    options = {"public": public, "limit": limit, "requester_pays": requester_pays}
    return {name: value for name, value in options.items() if value}


def _target(text: str) -> Path:
    """Return the path of a download; one that ends in a slash is a folder, which Path would not tell.

    :raises UsageError: that folder cannot be made.
    """
    from orchestrator.aws.storage import locations

    path = _local(text, DOWNLOAD)
    if text.endswith("/"):
        locations.make_folder(path)
    return path


def _bytes_per_s(limit: float) -> float:
    check_number(limit, "limit", NextStep("Upload", "data", URL, limit=20))
    return limit * 1e6


def _shown(workspace: Workspace, report: TransferReport) -> TransferReport:
    show(workspace, report)
    if report.failed:
        count, total = len(report.failed), report.files + report.unchanged + len(report.failed)
        raise StratusError(f"{count} of {total} files failed", where=report.source)
    return report


@GROUP.verb(
    "Send", "send", examples=(NextStep("Send", "data.csv", "ml-0"), NextStep("Send", "data", "all", "work/data"))
)
def send(workspace: Workspace, path: LocalPath, host: Host = "", remote: Remote = "") -> HostTransfers:
    """Send a file or a folder to VMs.

    Files get their names when they are complete, and are checked by SHA-256. After a cut or a kill the same call sends
    what is missing. Several VMs pass the data on to each other: this computer sends it once.

    path    the file or folder here; caches, environments and version control in it are left out.
    host    name of the VM (default: the first); several between blanks; all.
    remote  its path there, absolute or below the login's home (default: the same name).

    Costs  nothing beyond the VMs' time.
    """
    source = _local(path, NextStep("Download", path))
    names = host.split()
    if "," in host:
        example = NextStep("Send", path, " ".join(host.replace(",", " ").split()), *([remote] if remote else []))
        raise UsageError(f"{host}: several VMs are named between blanks", fix=example)
    again = NextStep("Send", path, *([host] if host or remote else []), *([remote] if remote else []))
    with interruptible(workspace, "What was sent stays on the VMs.", again + "  sends the rest"):
        report = workspace.session().hosts.send(source, names, remote)
    show(workspace, report)
    fix = again + "  sends the rest" if report.is_repeatable else ""
    raise_if_failed(report.failed, "{hosts} did not get it", fix=fix)
    return report


@GROUP.verb("Receive", "receive", examples=(RECEIVE,))
def receive(workspace: Workspace, remote: Remote, path: LocalPath = ".", host: Host = "") -> HostTransfer:
    """Receive a file, or the content of a folder, from a VM.

    For the outputs of a run, FetchResults() is simpler. Files and folders only; links to files become files. What
    is here already is not sent again: after a cut or a kill the same call receives the rest.

    remote  its path there, absolute or below the login's home.
    path    the folder here (default: the present one).
    host    name of the VM (default: the first).

    Costs  data transfer to the internet, about $0.09 per GB.
    """
    again = NextStep("Receive", remote, path, *([host] if host else []))
    with interruptible(workspace, "What was received so far stays.", again + "  receives the rest"):
        report = workspace.session().hosts.receive(remote, _local(path, RECEIVE), host)
    return show(workspace, report)


@GROUP.verb(
    "InstanceRole",
    "instance-role",
    examples=(NextStep("InstanceRole"), NextStep("InstanceRole", data="s3://bucket/prefix")),
)
def instance_role(
    workspace: Workspace, *, job: JobOption = "", data: Urls = "", delete: bool = False, yes: Consent = False
) -> InstanceRolePlan | InstanceRoleEnd:
    """Create the role of the VMs, to use S3.

    Shows its permissions and asks: reading the prefixes that the job's data names, reading and writing the prefix of
    its checkpoints, and nothing else. What it may do already stays. [aws] instance_profile then names it, for VMs that
    are launched from then on. A profile of your own that the setting names is never changed.

    job     folder of the job, or its .ini file (default: [job] run in the config file).
    data    further data on S3 that VMs may read; several between blanks.
    delete  delete the role and its instance profile.
    yes     do not ask for confirmation.

    Costs  nothing.
    """
    from orchestrator.jobs.scripts import find as scripts

    roles = workspace.session(files=False).instance_roles
    if delete:
        plan = roles.find()
        show(workspace, plan)
        again = NextStep("InstanceRole", delete=True, yes=True)
        confirm(workspace, Confirmation("Delete it?", again, "No role was deleted.", is_default_yes=False), yes=yes)
        return show(workspace, roles.delete(plan))
    options = {name: value for name, value in (("job", job), ("data", data)) if value}
    plan = roles.plan(scripts.find(job, lambda *_words, **_options: NextStep("InstanceRole", **options)), data.split())
    show(workspace, plan)
    if plan.is_current:
        return plan
    question = "Change it?" if plan.arn else "Create it?"
    again = NextStep("InstanceRole", **options, yes=True)
    confirm(workspace, Confirmation(question, again, "No role was created or changed."), yes=yes)
    return show(workspace, roles.create(plan))
