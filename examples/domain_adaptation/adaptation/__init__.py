"""Unsupervised domain adaptation: the parts of the job in ``train.py``.

image_folders     images in the folder layout of Office-31 sensor_columns    columns observed by two sensors
variable_names    names of the variables in files of columns dataset           the rows of a run, on the device that
uses them batching          batches as a pure function of seed and iteration models            networks losses
classification, alignment and pair losses distributed       communication between ranks: none, Horovod or
torch.distributed trainer           training steps and evaluation on one rank checkpoint        the state of a training
and its checkpoints training          a whole training: plain, resumed or elastic options           the command line
training_report   metrics.json and best.pt training_curves   curves.png
"""
