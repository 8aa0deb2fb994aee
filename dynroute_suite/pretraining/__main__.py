"""`python -m dynroute_suite.pretraining`: the command of `pretrain.py`."""

import sys

from dynroute_suite.pretraining.pretrain import main

if __name__ == "__main__":
    sys.exit(main())
