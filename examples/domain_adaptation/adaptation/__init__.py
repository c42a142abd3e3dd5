"""Unsupervised domain adaptation of an image classifier: parts of the job in ``train.py``."""
