"""What needs a person: found once, kept in the ledger, told to a webhook until it has been taken."""
