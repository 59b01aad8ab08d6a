"""The command line: one thin file a command. ``geomask --help`` lists them."""
