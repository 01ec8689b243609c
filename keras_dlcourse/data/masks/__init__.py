"""Masks from files: images of class numbers or colors, VOC folders and COCO annotations."""
