"""Personal data: what a copy of production may hold, how the rest is masked, and the proof that none is left."""
