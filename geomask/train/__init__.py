"""Learning a selection together with the network that uses it."""
