"""What comes of the runs of many: python -m helpers.results merge FOLDER."""

import sys

from helpers.results.merge import main

sys.exit(main())
