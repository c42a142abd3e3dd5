"""Records of runs on this computer."""
