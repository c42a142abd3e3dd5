"""How a bad day is played: on calls, on machines and their hosts, and by a colleague in the same account."""
