"""EC2 as this cloud answers it: launches, the market, the life of instances, and what they may ask of themselves."""
