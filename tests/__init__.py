"""The tests. Their matrices are small: a second thread of the linear algebra only waits."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when numpy and scipy are loaded
