"""Captures as operators read them: listed, shown, deleted, with an admin's key alone."""
