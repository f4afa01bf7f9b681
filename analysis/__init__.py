"""Measures of how close synthesized low-quality images come to real ones, and how well faces are restored.

`features` and `extractors` turn images into vectors, `whitening` takes faces out of them, `distances` and `compare` put
numbers and their nulls on sets of them, `projection`, `figures`, `page` and `report` show them, `fit` tunes a recipe to
photographs; `protocols` and `metrics` score restored faces. May import `degrade_kit` and nothing else of this project.
"""
