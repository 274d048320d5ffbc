"""The ledger: chart of accounts, journals and their segments, balances, proofs."""
