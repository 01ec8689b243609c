"""What the builders share: arguments, common parts, ImageNet weights."""
