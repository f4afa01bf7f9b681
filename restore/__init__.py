"""Training and inference of a face restorer.

`autoencoder` and `embeddings` say how a face becomes tokens, `losses` what is lowered, `train` and `infer` run it.
May import `degrade_kit` and `analysis`, and nothing else of this project.
"""
