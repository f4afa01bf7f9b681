"""Option files of other tools, read as recipes: numbers and names alone, never code."""
