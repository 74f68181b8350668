"""The paper's table 1 on any two conditions: methods on the same images, for the same time."""
