"""Unsupervised domain adaptation: the parts of the job in ``train.py``.

- ``options``: the command line.
- ``image_folders``, ``sensor_columns``, ``variable_names``: reading of images and of columns observed by two sensors.
- ``dataset``: the rows of a run; ``batching``: batches as a pure function of seed and iteration; ``rows``: one rank's
  rows of each batch, with random crops, in memory or streamed.
- ``networks``: networks; ``alignment``: distances between domains; ``losses``: a rank's shares of the loss.
- ``distributed``: communication between ranks: none, Horovod or torch.distributed.
- ``trainer``: training steps and evaluation on one rank; ``training``: a whole training, plain, resumed or elastic.
- ``checkpoint``: the state of a training; ``training_report``: metrics.json, best.pt; ``training_curves``: curves.png.
"""
