"""The smallest server that answers every call, in each of the libraries that we are compared with.

Each script takes the UDP port as its argument, and prints `ready` when it can be called.
"""
