"""The cost of streams with different LoRA adapters beside each other; adapters that are trained."""
