"""Objects and areas, cut out of a channel."""
