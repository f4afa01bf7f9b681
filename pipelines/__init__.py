"""The runs that take long, and the command line.

`pipelines.cli` gathers the commands of `degrade-kit` from `pipelines.commands`, and `pipelines.executor` runs tasks in
this process or on Ray; no other module imports Ray. The package may import every other one of this project, and none of
them imports it.
"""
