"""The methods that draw maps: which places of an image speak for a class."""
