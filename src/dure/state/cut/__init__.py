"""Large values of plain objects, cut into parts; a part whose memory was not written is not looked at."""
