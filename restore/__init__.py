"""Training, inference and evaluation of a face restorer.

The place for autoencoders, face embeddings and the restoration runs, which read the shards that `pipelines` writes. The
package is empty so far. It may import `degrade_kit` and `analysis`, and nothing else of this project.
"""
