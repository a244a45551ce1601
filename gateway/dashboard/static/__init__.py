"""The page: HTML, style sheets and modules that a browser takes as they are."""
