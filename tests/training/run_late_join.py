"""Train on two ranks under horovodrun, the second of which joins after some steps, as in an elastic run.

run_late_join.py JOB DATA: exits with 1 if the weights differ after some common steps. Started by test_lost_ranks.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, sys.argv[1])

import horovod.torch as hvd
from adaptation import dataset, distributed
from adaptation.checkpoint import TrainingState
from adaptation.options import Options
from adaptation.trainer import Trainer, weights_digest

ALONE, TOGETHER = 3, 2


def main() -> int:
    """Train, synchronize, train further; return 1 if the ranks differ."""
    torch.set_num_threads(1)
    data = Path(sys.argv[2])
    pair, kind = dataset.list_images(data, "amazon", "webcam")
    images = dataset.read_dataset(pair, kind, dataset.ImageSettings(16), (torch.device("cpu"), 0))
    options = Options(data=data, out=data, method="dann", image_size=16, global_batch=16)
    ranks = distributed.connect("horovod", cuda=False)
    trainer = Trainer(options, images, distributed.Communicator(), print)
    for iteration in range(ALONE if ranks.rank == 0 else 0):
        trainer.step(iteration)
    state = hvd.elastic.TorchState(
        model=trainer.net,
        optimizer=trainer.optimizer,
        progress=TrainingState(iteration=ALONE if ranks.rank == 0 else 0),
    )
    state.sync()
    trainer.comm = ranks
    for iteration in range(state.progress.iteration, state.progress.iteration + TOGETHER):
        trainer.step(iteration)
    agree = ranks.all_agree(weights_digest(trainer.net.state_dict()))
    ranks.barrier()
    ranks.close()
    return 0 if agree and state.progress.iteration == ALONE else 1


if __name__ == "__main__":
    sys.exit(main())
