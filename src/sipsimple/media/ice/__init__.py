"""Connectivity by ICE for the transports of the engine (RFC 8445), in a thread of its own."""
