"""Write the files of images/ that the run store changes to a folder: python -m helpers.results FOLDER."""

import sys
from pathlib import Path

from helpers.results import archive

if __name__ == "__main__":
    archive.publish(Path(sys.argv[1]).resolve())
