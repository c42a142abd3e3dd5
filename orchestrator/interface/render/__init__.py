"""Text for the records that verbs return."""
