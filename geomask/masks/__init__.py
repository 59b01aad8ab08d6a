"""What can be learned: gates over the channels of a model's input, and the fixed choices to hold them against."""
