"""The runs that take long, and the command line.

A folder for each thing that a user does: `inputs`, `synth`, `dataset`, `distribution`, `evaluation`, `models`; none of
them imports another. On the ground floor, what they share: `executor` (tasks in this process or on Ray, which no other
module imports), `makers`, `images`, `claim`, `card`, `sheet`, `feature_cache`. `cli` gathers the commands of
`degrade-kit` from `commands`. The package may import every other one of this project, and none of them imports it.
"""
