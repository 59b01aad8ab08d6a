"""What to fetch: a selection compiled into exact byte ranges, and its cost."""
