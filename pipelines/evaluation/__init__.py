"""Score restored images, compare scores, and make the test sets for both."""
