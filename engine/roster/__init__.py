"""The roster: who is in a plan, by seat and shard, and how that changes."""
