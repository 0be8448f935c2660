"""What lies between transports and transactions: the Via, refusals, and the way of each transaction."""
