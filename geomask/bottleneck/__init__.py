"""FrankenSplit: features instead of pixels."""
