"""Measures of how close synthesized low-quality images come to real ones, and how well faces are restored.

`features` and `extractors` turn images into vectors, `whitening` takes faces out of them, `distances` and `comparison`
put numbers and their nulls on sets of them, `projection`, `figures`, `page` and `report` show them, `fit` tunes a
recipe to photographs. `judge` holds every metric of restored faces; `metrics` and `perceptual` measure them as
`protocols` say, and `summary` makes one number of many. `weights` finds files of others, `download` fetches them,
`tensors` reads them, and `networks` holds the networks that they fill. May import `degrade_kit` and nothing else of
this project.
"""
