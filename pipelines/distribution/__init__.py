"""Compare how images are degraded, and fit a recipe to photographs."""
