"""What can be learned: gates over the units of a model's input, and the choices to hold them against."""
