"""Process hosts: all that makes one rehearsal machine, without root, and the process that holds them all."""
