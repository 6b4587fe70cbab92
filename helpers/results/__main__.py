"""What comes of the runs of many: python -m helpers.results merge FOLDER."""

from helpers.results import merge

raise SystemExit(merge.main())
