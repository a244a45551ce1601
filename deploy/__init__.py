"""Programs of the containers; the makers of the dashboard and of the site of docs/."""
