"""Command that checks the embedded cloud's assumptions about AWS against the configured cloud.

``python -m localcloud.contract --yes-spend-cents`` is what ``scripts/real-aws`` runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localcloud.contract.check_context import CheckContext

PRICE = (
    "Up to four {instance_type} instances for some minutes each, with 8 GiB disks and public addresses: a t3.nano "
    "costs about $0.0052 per hour, its address $0.005 and its disk $0.001, so the total stays below $0.05."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Check a cloud.

    :returns: 0 if all assumptions hold, 1 if one does not, 2 for usage, 4 if an instance may be left running.
    """
    args = _parser().parse_args(argv)
    if not args.yes_spend_cents:
        print(
            f"Nothing was done. {PRICE.format(instance_type=args.type)}\nTo continue, add --yes-spend-cents.",
            file=sys.stderr,
        )
        return 2
    import boto3

    from localcloud.contract.check_context import CheckContext

    context = CheckContext(boto3.Session(profile_name=args.profile, region_name=args.region), instance_type=args.type)
    target = os.environ.get("AWS_ENDPOINT_URL") or "AWS itself"
    print(f"account {context.account()}, {context.region}, {target}; tag {context.tag}")
    print(PRICE.format(instance_type=args.type))
    try:
        broken = check(context, args.only)
    finally:
        left = context.clean_up()
        if left:
            print(f"MAY STILL COST MONEY, terminate by hand: {', '.join(left)}", file=sys.stderr)
    return 4 if left else int(bool(broken))


def check(context: CheckContext, only: Iterable[str] = ()) -> list[str]:
    """Run the checks, print each outcome, and return the names of those that fail."""
    from localcloud.contract.checks.catalog import CHECKS

    broken = []
    for name, run in CHECKS.items():
        if only and name not in only:
            continue
        failure = _failure(run, context)
        print(f"{'FAILS' if failure else 'holds'}  {name}{': ' if failure else ''}{failure}", flush=True)
        broken += [name] if failure else []
    return broken


def _failure(run: Callable[[CheckContext], None], context: CheckContext) -> str:
    try:
        run(context)
    except AssertionError as error:
        return str(error) or "does not hold"
    except Exception as error:
        # An error in one check must not prevent the others, or the cleanup.
        return f"{type(error).__name__}: {error}"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="real-aws", description="Check the embedded cloud's assumptions about AWS against the configured cloud."
    )
    parser.add_argument("--yes-spend-cents", action="store_true", help="agree to the price; nothing is done without it")
    parser.add_argument("--type", default="t3.nano", help="instance type, x86_64 (default t3.nano)")
    parser.add_argument("--region", default=None, help="default: the configured one")
    parser.add_argument("--profile", default=None, help="default: the configured one")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="only these assumptions")
    return parser


if __name__ == "__main__":
    sys.exit(main())
