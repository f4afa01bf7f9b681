"""FlipNet (arXiv 2508.08556): one diffusion model that restores faces or, flipped, makes real-world degradations.

Nothing else in `degrade_kit` imports this package, but for a recipe's step that asks `folder` which model is meant.
Importing it costs no torch; its modules do, all but `config` and `folder`.

config      what a FlipNet is made of, and which mode it is in
network     a Stable Diffusion U-Net with BoostHubs and LoRA; boosthub, text and diffusion are its parts
space       a latent space with nothing to train, for small models
checkpoint  saved folders: write them, and load them with every check
sampling    the condition once, then all steps and variants
pairs       real pairs in the layouts of public data sets; crops, registration, captions, mixture beside it
training    degradation mode from real pairs and faces
"""
