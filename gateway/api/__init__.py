"""One module per dialect: each turns a body into a Job, and events into its own bytes."""
