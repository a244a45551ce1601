"""``forge replay``: a captured request is sent again, and the new answer compared with the old."""
