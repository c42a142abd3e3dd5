"""Marks this host as used while a kernel of its JupyterLab works: touches FOLDER/busy, which idle.sh looks at.

jupyter_use.py FOLDER PID ADDRESS:PORT      ends with the server of that pid
"""

import json
import os
import sys
import time
import urllib.request

INTERVAL_S = float(os.environ.get("STRATUS_NOTEBOOK_INTERVAL", "30"))


def is_busy(folder: str, address: str) -> bool:
    """Return True if a kernel executes something."""
    with open(os.path.join(folder, "token")) as file:
        headers = {"Authorization": f"token {file.read().strip()}"}
    request = urllib.request.Request(f"http://{address}/api/kernels", headers=headers)
    # Without the proxy that the environment may name.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return any(kernel.get("execution_state") == "busy" for kernel in json.load(answer))


def main() -> None:
    """Look until the server has ended."""
    folder, pid, address = sys.argv[1:]
    while os.path.exists(f"/proc/{pid}"):
        try:
            if is_busy(folder, address):
                with open(os.path.join(folder, "busy"), "a"):
                    os.utime(os.path.join(folder, "busy"))
        # A server that is starting, ending or overloaded: it is asked again.
        except (OSError, ValueError):
            pass
        time.sleep(INTERVAL_S)


main()
