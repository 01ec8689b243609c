"""What a network perceives: images made again out of what one of its layers holds."""
