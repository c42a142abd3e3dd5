"""Unsupervised domain adaptation of an image classifier, or between two sensors, on one process or many.

    python train.py --data data --out outputs --method coral
    horovodrun -np 2 python train.py --data data --out outputs --method dan
    torchrun --nproc-per-node 2 train.py --data data --out outputs --method dann
    python train.py --task sensors --data data/columns --out outputs

Exit codes: 0 done; 1 a rank was lost or the machine failed; 2 unusable data or arguments (one line names the problem);
130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from adaptation.image_folders import DataError
from adaptation.options import Options, parse

if TYPE_CHECKING:
    import torch
    from adaptation.distributed import Communicator


def main(args: list[str] | None = None) -> int:
    """Run the job; return the exit code."""
    options = parse(args)
    from adaptation.distributed import RANK_ERRORS

    try:
        run(options)
    except DataError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"train.py: {error}: see requirements.txt, or choose another --dist or --net", file=sys.stderr)
        return 2
    except RANK_ERRORS as error:
        message = str(error).strip().partition("\n")[0]
        print(f"train.py: stopped by {type(error).__name__}: {message}; --resume continues", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"train.py: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; --resume continues from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def run(options: Options) -> None:
    """Read the data, train, evaluate, write all results."""
    from adaptation import dataset, sensor_columns, training, training_curves, training_report
    from adaptation.distributed import connect

    # The folder is checked before ranks connect, so that errors are reported without waiting for other ranks.
    if options.task == "sensors":
        files, kind = sensor_columns.list_granules(options.data)
    else:
        pair, kind = dataset.list_images(options.data, options.source, options.target)
    options.out.mkdir(parents=True, exist_ok=True)
    comm = connect(options.dist, cuda=wants_cuda(options))
    device = select_device(options, comm)
    if options.task == "sensors":
        run_dataset = sensor_columns.read_dataset(files, kind, (device, options.seed))
    else:
        settings = dataset.ImageSettings(
            *(options.image_size, options.augment, options.keep_aspect, options.validation, options.workers)
        )
        run_dataset = dataset.read_dataset(pair, kind, settings, (device, options.seed))
    if comm.rank == 0:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in run_dataset.counts.items())
        log(f"{run_dataset.description}: {counts}; {training_report.format_ranks(comm)}, {device.type}")
    comparisons = training.train_comparisons(options, run_dataset, comm, log)
    result = training.train(options, run_dataset, comm, log)
    if comm.rank == 0:
        content = training_report.write_results(result, run_dataset, comm, comparisons)
        training_curves.draw_figure(result, run_dataset, comparisons, training_report.format_ranks(comm))
        log(content["headline"])
    comm.barrier()
    comm.close()
    if not result.ranks_agree:
        raise RuntimeError("ranks ended with different weights")


def wants_cuda(options: Options) -> bool:
    """Return True if the run uses GPUs."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise DataError("--device cuda: torch finds no GPU (nvidia-smi shows whether the machine has one)")
    return options.device != "cpu" and bool(torch.cuda.is_available())


def select_device(options: Options, comm: Communicator) -> torch.device:
    """Return the rank's device; sets the number of threads."""
    import torch

    # Respects CPU limits of containers and of taskset, unlike cpu_count.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(options.threads or max(1, cores // comm.local_size))
    if not wants_cuda(options):
        return torch.device("cpu")
    device = torch.device("cuda", comm.local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def log(line: str) -> None:
    """Print a line of progress without buffering."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
