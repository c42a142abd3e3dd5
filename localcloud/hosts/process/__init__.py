"""Process hosts: SSH servers as processes of this computer, without root, and the process that supervises them."""
