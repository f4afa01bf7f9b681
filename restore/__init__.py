"""Training, inference and evaluation of a face restorer.

`autoencoder` and `embeddings` say how a face becomes tokens, `losses` what is lowered, `train` and `infer` run it,
`networks` reads networks of others from local files. May import `degrade_kit` and `analysis`, and nothing else of this
project.
"""
