"""A run for machines without torch."""
