"""Code shared by the builders: arguments, common parts, ImageNet weights."""
