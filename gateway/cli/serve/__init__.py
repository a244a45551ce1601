"""``forge serve``: the server of one model or several."""
