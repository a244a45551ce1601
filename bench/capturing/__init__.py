"""What captures cost."""
