"""The short name of `nas.cluster.parallel`: python -m nas.parallel [TARGET …] --jobs N [--address ADDRESS]."""

import sys

from nas.cluster.parallel import main

if __name__ == "__main__":
    sys.exit(main())
