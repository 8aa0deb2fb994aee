"""`python -m dynroute_suite.pretraining`: the command of `pretrain.py`."""

import sys

from dynroute_core.system.streams import outlast_terminal
from dynroute_suite.pretraining.pretrain import main

if __name__ == "__main__":
    outlast_terminal()
    sys.exit(main())
