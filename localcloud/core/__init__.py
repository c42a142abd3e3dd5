"""Building blocks without knowledge of AWS: clock, scheduler, errors, addresses, file locks, process tree."""
