"""A custodian to test with: it takes debit files, plays the days after, and writes statements with planted faults.

It knows nothing of a database, and nothing of how references are made or statements are matched.
"""
