"""Documents of amounts of money."""

from __future__ import annotations

from orchestrator.core.cost import Amount, Bill
from orchestrator.interface.render.registry import Document, document


@document.register(Amount)
def _(amount: Amount) -> Document:
    return {
        "at_least": document(amount.at_least),
        "at_most": document(amount.at_most),
    }


@document.register(Bill)
def _(bill: Bill) -> Document:
    return {
        "seconds": bill.billed_seconds,
        "machines": document(bill.vms_usd),
        "disks": document(bill.disks_usd),
        "spot": bill.spot,
        "addresses": document(bill.addresses_usd),
    }
