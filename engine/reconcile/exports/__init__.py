"""What the custodian is asked for, what it says happened, and the books until both agree to the last fen."""
