"""Teachers: trained once, stored under what they are, verified whenever they are read."""
