"""What the containers run beside Forge; the makers of the dashboard and of the site of docs/."""
