"""Documents that travel in messages: a library of its own, each module one format."""
