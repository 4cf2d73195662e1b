"""A film of known truth, made from freely fetched photographs, and what fastface finds in it."""
