"""Judge translations, and put what was found on one page."""
