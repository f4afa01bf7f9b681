"""Make LQ images by a recipe or a FlipNet: what several features share."""
