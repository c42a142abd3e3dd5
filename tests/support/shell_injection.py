"""Values that a shell would execute or expand if they were not quoted."""

from __future__ import annotations

TRAP = "owned"
"""Name of the file that an executed value creates."""

POISONS = (
    "; touch {trap} #",
    "$(touch {trap})",
    "`touch {trap}`",
    "| touch {trap}",
    "&& touch {trap}",
    "' ; touch {trap} ; '",
    '" ; touch {trap} ; "',
    "\ntouch {trap}\n",
    "x; touch {trap} #",
    "${{IFS}}",
    "$HOME",
    "~",
    "*",
    "../../{trap}",
    "-rf",
    "--help",
    "-oProxyCommand=touch {trap}",
    "\\",
    "'",
    '"',
    "!",
    "#",
    "(",
    "<{trap}",
    ">{trap}",
    "%h",
    "\x7f",
    "é",
    "\u2028",
    "=",
    "@@exit 0",
    "a b",
    "\t",
)
