"""The command that holds what this cloud takes to be true of AWS against a cloud.

``python -m localcloud.contract --yes-spend-cents`` is what ``scripts/real-aws`` runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localcloud.contract.lab import CheckContext

PRICE = (
    "Up to four {kind} machines for some minutes each, with 8 GiB disks and public addresses: a t3.nano costs about "
    "$0.0052 an hour, its address $0.005 and its disk $0.001, so all of it stays below $0.05."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Check a cloud; 0 when all holds, 1 when something does not, 2 on usage, 4 when something may be left running."""
    words = _parser().parse_args(argv)
    if not words.yes_spend_cents:
        print(f"nothing was done. {PRICE.format(kind=words.type)}\nTo go on, add --yes-spend-cents.", file=sys.stderr)
        return 2
    import boto3

    from localcloud.contract.lab import CheckContext

    lab = CheckContext(boto3.Session(profile_name=words.profile, region_name=words.region), kind=words.type)
    print(f"account {lab.account()}, {lab.region}, {os.environ.get('AWS_ENDPOINT_URL') or 'AWS itself'}; tag {lab.tag}")
    print(PRICE.format(kind=words.type))
    try:
        broken = check(lab, words.only)
    finally:
        left = lab.clean_up()
        if left:
            print(f"MAY STILL COST MONEY, end by hand: {', '.join(left)}", file=sys.stderr)
    return 4 if left else int(bool(broken))


def check(lab: CheckContext, only: Iterable[str] = ()) -> list[str]:
    """Check all that can be checked on a cloud, telling each outcome; the names of what does not hold."""
    from localcloud.contract.checks import CHECKS

    broken = []
    for name, run in CHECKS.items():
        if only and name not in only:
            continue
        why = _failure(run, lab)
        print(f"{'FAILS' if why else 'holds'}  {name}{': ' if why else ''}{why}", flush=True)
        broken += [name] if why else []
    return broken


def _failure(run: Callable[[CheckContext], None], lab: CheckContext) -> str:
    try:
        run(lab)
    except AssertionError as error:
        return str(error) or "not so"
    except Exception as error:
        # A check that breaks must not keep the others, nor the cleaning up, from their turn.
        return f"{type(error).__name__}: {error}"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="real-aws", description="Hold what the embedded cloud assumes of AWS against the cloud that is configured."
    )
    parser.add_argument("--yes-spend-cents", action="store_true", help="agree to the price; without it nothing is done")
    parser.add_argument("--type", default="t3.nano", help="instance type, x86_64 (default t3.nano)")
    parser.add_argument("--region", default=None, help="default: the configured one")
    parser.add_argument("--profile", default=None, help="default: the configured one")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="only these assumptions")
    return parser


if __name__ == "__main__":
    sys.exit(main())
