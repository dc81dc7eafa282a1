"""`python -m cwstore` is the command `cwstore`."""

import sys

from cwstore.cli.parser import main

# Worker processes of the demo import this file again.
if __name__ == "__main__":
    sys.exit(main())
