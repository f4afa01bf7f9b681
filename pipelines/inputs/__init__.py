"""Bring what a user has into the toolkit: align photographs, look at real pairs."""
