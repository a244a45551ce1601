"""What the containers run beside Forge, and the makers of the dashboard and of the documentation."""
