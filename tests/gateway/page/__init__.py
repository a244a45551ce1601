"""What the live page is shown."""
