"""Fault injection: in API calls, instances and their hosts, and by another user of the account."""
