"""Measures of how close synthesized low-quality images come to real ones.

The place for features, projection, distances, image metrics and the report of a run: arrays in, numbers and files out,
models come in as callables. The package is empty so far. It may import `degrade_kit` and nothing else of this project.
"""
