// A trained network and its properties. Written by keras_dlcourse; do not edit.

#ifndef KERAS_DLCOURSE_MODEL_DATA_H_
#define KERAS_DLCOURSE_MODEL_DATA_H_

#include <cstddef>
#include <cstdint>

// The .tflite file, byte by byte, in flash.
constexpr std::size_t kModelLength = $length;
extern const unsigned char kModel[kModelLength];

// Memory for TensorFlow Lite Micro: the smallest arena that worked on a 64-bit machine, and that
// with a margin.
constexpr std::size_t kArenaMinimum = $minimum;
constexpr std::size_t kArenaSize = $arena;

// Input: $input_shape; real value = scale * (stored value - zero point). Floats have scale 1.
using InputType = $input_type;
constexpr int kInputSize = $input_size;
constexpr float kInputScale = $input_scale;
constexpr int kInputZeroPoint = $input_zero;

// Output: $output_shape.
using OutputType = $output_type;
constexpr int kOutputSize = $output_size;
constexpr float kOutputScale = $output_scale;
constexpr int kOutputZeroPoint = $output_zero;

// Class names in the order of the outputs; none if the file has no labels.
constexpr int kLabelCount = $label_count;
extern const char* const kLabels[];

#endif  // KERAS_DLCOURSE_MODEL_DATA_H_
