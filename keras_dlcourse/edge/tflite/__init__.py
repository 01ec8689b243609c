"""Parse and check the bytes of a `.tflite` file into a `ModelFile`."""
