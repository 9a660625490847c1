"""Cases of each reader and verb, by what they are for."""
