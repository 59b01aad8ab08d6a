"""The embedded demo: real Sentinel-2 published as COGs, a counting server over them, and the whole pipeline."""
