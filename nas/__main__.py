"""`python -m nas`: the console command `nas` under another name; see `nas.cli`."""

import sys

from nas.cli import main

if __name__ == "__main__":
    sys.exit(main())
