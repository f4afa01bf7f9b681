"""Make data sets: plan, shards, output, estimate, preview."""
