"""``forge quantize``: a smaller file of a model, and how much is lost by that."""
