"""One module for each command: options and help, one library call, a printed summary."""
