"""A trained model as a file, and its predictions for scenes that arrive as requests."""
