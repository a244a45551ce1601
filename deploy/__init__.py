"""What the containers run beside Forge, and the maker of the dashboard."""
