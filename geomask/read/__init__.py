"""Reading what a manifest says: fetch first, decode after."""
