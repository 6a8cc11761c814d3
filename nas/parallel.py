"""`python -m nas.parallel`: `nas parallel` under another name; see `nas.cluster.parallel`."""

import sys

from nas.cli import main

if __name__ == "__main__":
    sys.exit(main(["parallel", *sys.argv[1:]]))
