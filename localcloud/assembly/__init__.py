"""The embedded cloud, assembled from its parts."""
