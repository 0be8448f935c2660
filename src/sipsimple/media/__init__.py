"""Media of SIP sessions: RTP audio streams, mixing, files, tones and sound devices; a library of its own."""
