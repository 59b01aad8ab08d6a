"""Samples to learn from: a torchgeo dataset over STAC items, labels, spatial splits, chips read once."""
