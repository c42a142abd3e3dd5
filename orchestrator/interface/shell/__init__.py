"""The IPython shell."""
