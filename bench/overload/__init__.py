"""The order under overload, measured on real processes: Forge against first come, first served."""
