"""Share runs: the state machine from passed claims to a sealed ledger."""
