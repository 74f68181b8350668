"""Parts that the docks share."""
