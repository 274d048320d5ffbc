"""Claims, their public notice and the objections to it."""
