"""Using a run on items: read what its selection names, classify, write a map."""
