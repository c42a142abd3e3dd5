"""The verbs that the shell and the command line share."""
