"""Tests of the gateway without processes and without sockets that leave the test."""
