"""Look after data sets that are there: verify, inspect, export, join, bench-read."""
