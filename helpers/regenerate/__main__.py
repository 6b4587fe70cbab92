"""python -m helpers.regenerate"""

import sys

from helpers.regenerate.cli import main

if __name__ == "__main__":
    sys.exit(main())
