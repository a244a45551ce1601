"""Tests of the experiments: what they conserve and conclude, never how fast they are."""
