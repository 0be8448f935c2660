"""The demonstration: a registrar, two user agents, one call, and a report that says whether the audio arrived."""
