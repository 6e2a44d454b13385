"""community: where users are, what happens in the zones, and who may want to know whom."""
