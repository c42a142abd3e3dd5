"""Command that checks the embedded cloud's assumptions about AWS against the configured cloud.

``python -m localcloud.contract --yes-spend-cents`` is what ``scripts/real-aws`` runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.contract import distributions
from localcloud.contract.journal import Journal, default_file

if TYPE_CHECKING:
    from localcloud.contract.check_context import CheckContext
    from localcloud.contract.distributions import Distribution

PRICE = (
    "Up to four {instance_type} instances for some minutes each, with 8 GiB disks and public addresses: a t3.nano "
    "costs about $0.0052 per hour, its address $0.005 and its disk $0.001, so the total stays below $0.05."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Check a cloud.

    :returns: 0 if all assumptions hold, 1 if one does not, 2 for usage, 4 if an instance may be left running.
    """
    args = _parser().parse_args(argv)
    args.type = args.type or ("t3.micro" if args.systems else "t3.nano")
    rows = list(_rows(args))
    price = _price(args, rows)
    if not args.yes_spend_cents and not _consents(price):
        print(f"Nothing was done. {price}\nTo continue, add --yes-spend-cents.", file=sys.stderr)
        return 2
    import boto3

    from localcloud.contract.check_context import CheckContext

    session = boto3.Session(profile_name=args.profile, region_name=args.region)
    context = CheckContext(session, instance_type=args.type)
    target = os.environ.get("AWS_ENDPOINT_URL") or "AWS itself"
    print(f"account {context.account()}, {context.region}, {target}; tag {context.tag}")
    print(price, flush=True)
    journal = Journal(args.journal)
    left = [name for tag in journal.unfinished(context.region) for name in _finish(journal, context.of_tag(tag))]
    broken: list[str] = []
    journal.begin(context.region, context.tag)
    try:
        broken = _check_systems(context, rows) if args.systems else check(context, args.only)
    finally:
        left += _finish(journal, context)
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


def _finish(journal: Journal, context: CheckContext) -> list[str]:
    """Clean a run up; return what may be left of it."""
    left = context.clean_up()
    if not left:
        journal.end(context.tag)
    return left


def _check_systems(context: CheckContext, rows: Sequence[Distribution]) -> list[str]:
    from localcloud.contract.systems import SystemChecks

    return SystemChecks(context, lambda line: print(line, flush=True)).run(rows)


def _rows(args: argparse.Namespace) -> Iterable[Distribution]:
    if args.systems:
        table = distributions.read(args.table)
        yield from (row for name, row in table.items() if not args.only or name in args.only)


def _price(args: argparse.Namespace, rows: Sequence[Distribution]) -> str:
    if not args.systems:
        return PRICE.format(instance_type=args.type)
    from localcloud.contract.systems import price_lines

    return "\n".join(price_lines(rows, args.type))


def _consents(price: str) -> bool:
    """Return whether a person at a terminal agrees to the price; False without a terminal."""
    if not sys.stdin.isatty():
        return False
    print(price)
    return input("Launch them in this account? [y/N] ").strip().lower() in ("y", "yes")


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
    parser.add_argument(
        "--systems", action="store_true", help="check the table of distributions, with one t3.micro each"
    )
    parser.add_argument("--type", default=None, help="instance type, x86_64 (default t3.nano)")
    parser.add_argument("--region", default=None, help="default: the configured one")
    parser.add_argument("--profile", default=None, help="default: the configured one")
    parser.add_argument(
        "--only", nargs="*", default=(), metavar="NAME", help="only these assumptions, or distributions"
    )
    parser.add_argument("--table", type=Path, default=distributions.FILE, help="another table of distributions")
    parser.add_argument("--journal", type=Path, default=default_file(), help="file that lists runs before they begin")
    return parser


if __name__ == "__main__":
    sys.exit(main())
