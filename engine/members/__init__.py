"""What happens to one member between runs: deposits, freezes, exits by rule, levies, refunds."""
