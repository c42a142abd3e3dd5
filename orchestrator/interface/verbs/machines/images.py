"""Verbs on baked images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from orchestrator.core.errors import LeftRunning, UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.base import VerbGroup
from orchestrator.interface.verbs.interaction import Confirmation, confirm, interruptible, show
from orchestrator.interface.verbs.parameters import Consent, VerbParameter

if TYPE_CHECKING:
    from orchestrator.interface.workspace import Workspace
    from orchestrator.services.machines.baked_images import BakeReport, ImageDeletions, ImageList

GROUP = VerbGroup("Images of installed VMs")

IMAGES = NextStep("Images")

Host = Annotated[str, VerbParameter(metavar="HOST", positional=True, completes="host")]
ImageName = Annotated[str, VerbParameter(metavar="IMAGE", positional=True)]


@GROUP.verb(
    "BakeImage",
    "bake",
    examples=(NextStep("BakeImage"), NextStep("BakeImage", "ml-0", remove_runs=True)),
    next_steps=(IMAGES,),
)
def bake_image(workspace: Workspace, host: Host = "", *, remove_runs: bool = False, yes: Consent = False) -> BakeReport:
    """Make an image of an installed VM, for later launches.

    The next launch of the same job finds it, and InstallDeps() has only code and data to send. The VM stays up. Its
    keys, credentials, shell histories and the state of cloud-init are not in the image; uploaded code and data, logs
    and temporary files are deleted on the VM. The VM must not be at work meanwhile.

    host         the VM (default: the first).
    remove_runs  delete its ended runs and their outputs, for good: an image has none.
    yes          do not ask for confirmation.

    Costs  the snapshot, per month, until the image is deleted; the highest price is shown.
    """
    from orchestrator.interface.render.machines import images

    service = workspace.session().baked_images
    with workspace.progress.shown():
        plan = service.plan(host)
        service.check(plan, remove_runs=remove_runs)
    workspace.console.print(images.plan(plan))
    options = {"remove_runs": True} if remove_runs else {}
    again = NextStep("BakeImage", plan.host.name, **options, yes=True)
    confirm(workspace, Confirmation("Make it?", again, "No image was made."), yes=yes)
    with interruptible(workspace, "AWS may still make the image.", IMAGES + "  lists it"):
        report = service.bake(plan, remove_runs=remove_runs)
    return show(workspace, report)


@GROUP.verb("Images", "images", examples=(IMAGES,))
def list_images(workspace: Workspace) -> ImageList:
    """List baked images with their price per month.

    Costs  nothing.
    """
    return show(workspace, workspace.session(files=False).baked_images.list_images())


@GROUP.verb(
    "DeleteImages",
    "delete-images",
    examples=(NextStep("DeleteImages", stale=True), NextStep("DeleteImages", "ami-0123456789abcdef0")),
)
def delete_images(workspace: Workspace, image: ImageName = "", *, stale: bool = False) -> ImageDeletions:
    """Delete baked images and their snapshots.

    VMs that were launched from them stay as they are.

    image  id or name of one.
    stale  all that no launch of their job would use any more.
    """
    if not image and not stale:
        raise UsageError("name an image, or set stale", fix=NextStep("DeleteImages", stale=True))
    service = workspace.session(files=False).baked_images
    report = service.delete([image] if image else [], stale=stale)
    show(workspace, report)
    if report.remaining:
        raise LeftRunning("Still there:", left=report.remaining, fix=IMAGES + "  lists them")
    return report
