"""The only entry; ``python launch.py --help`` says what it can do. Workers import this file too and must not start."""

import sys

from demo.cli import main

if __name__ == "__main__":
    sys.exit(main())
