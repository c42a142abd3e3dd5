"""Data plane of S3: objects are received into files and sent from them, never held in memory."""
