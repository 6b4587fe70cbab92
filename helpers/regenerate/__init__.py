"""Re-run the notebooks headlessly, and publish what they give: python -m helpers.regenerate --help."""

import sys

# jsonschema, which nbformat loads, would check addresses with it if it could; no notebook's schema has any, and
# building its grammar takes a second in every process
sys.modules.setdefault("rfc3987_syntax", None)
