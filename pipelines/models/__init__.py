"""Train FlipNet's two modes, and restore photographs with one."""
