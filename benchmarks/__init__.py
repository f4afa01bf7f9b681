"""Speed of degrade-kit beside other implementations; docs/benchmarks.md tells what is measured and what came out.

Every time is CPU time of one thread, so thread pools are limited here, before NumPy loads.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[_name] = "1"
