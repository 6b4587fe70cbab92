"""Re-run the notebooks headlessly, and publish what they give: python -m helpers.regenerate --help."""
