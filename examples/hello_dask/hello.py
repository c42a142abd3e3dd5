"""Sum squares on the workers of a Dask cluster."""

import os
from pathlib import Path

from distributed import Client

if __name__ == "__main__":
    # Stratus starts the cluster of several VMs; on one, Dask starts its own.
    client = (
        Client(os.environ["SCHEDULER"]) if "SCHEDULER" in os.environ else Client(n_workers=2, dashboard_address=None)
    )
    total = sum(client.gather(client.map(lambda x: x * x, range(1000))))
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs/total.txt").write_text(f"{total}\n")
    print("workers", len(client.scheduler_info()["workers"]), "total", total)
