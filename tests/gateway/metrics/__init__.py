"""Tests of the gateway's end of the pool."""
