"""Programs that people point at Forge, run as their users would."""
