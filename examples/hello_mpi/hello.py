"""Sum a number of each process with MPI."""

from pathlib import Path

from mpi4py import MPI

world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
if world.rank == 0:
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs/total.txt").write_text(f"{total}\n")
print("rank", world.rank, "of", world.size, "sum", total, flush=True)
