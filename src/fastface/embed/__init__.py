"""Faces to unit vectors."""
