"""What all APIs of AWS share here: the chain that requests pass, callers, refusals, and tables of what there is."""
