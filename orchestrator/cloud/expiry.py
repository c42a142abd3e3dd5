"""The tag that says when a machine ends itself: written down anew when its timer was set anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from orchestrator.aws import client
from orchestrator.aws.ec2 import instances


def note(clients: client.Clients, ends: Mapping[str, datetime]) -> None:
    """Tag machines with their ends, rounded up to the minute: one call for all that end in the same one.

    :param ends: instance id -> when it ends itself.
    """
    by_minute = defaultdict[datetime, list[str]](list)
    for key, end in ends.items():
        by_minute[_minute(end)].append(key)
    with clients.calls("tagging machines with their new end"):
        for end, ids in by_minute.items():
            value = end.isoformat(timespec="seconds")
            clients.ec2.create_tags(Resources=ids, Tags=[{"Key": instances.TAG_EXPIRES, "Value": value}])


def _minute(moment: datetime) -> datetime:
    whole = moment.replace(second=0, microsecond=0)
    return whole if whole == moment else whole + timedelta(minutes=1)
