"""Other people's trainers, one module each; none is imported by the rest of the package."""
