"""Files that are written whole, and level 2 in the forms of others."""
