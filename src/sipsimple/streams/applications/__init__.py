"""What travels in the messages of streams, as objects for applications."""
