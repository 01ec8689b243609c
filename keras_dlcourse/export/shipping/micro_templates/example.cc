// Example: run the network from model_data.h with TensorFlow Lite Micro.

#include "model_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas($alignment) std::uint8_t arena[kArenaSize];

using Resolver = tflite::MicroMutableOpResolver<$operator_count>;

TfLiteStatus AddOperators(Resolver& resolver) {
$adds  return kTfLiteOk;
}

}  // namespace

// Returns the index of the best class, or -1 on failure.
int Classify(const InputType* input) {
  static Resolver resolver;
  static const bool added = AddOperators(resolver) == kTfLiteOk;
  static tflite::MicroInterpreter interpreter(tflite::GetModel(kModel), resolver, arena,
                                              kArenaSize);
  static const bool ready = added && interpreter.AllocateTensors() == kTfLiteOk;
  if (!ready) return -1;
  MicroPrintf("arena used: %d of %d bytes", static_cast<int>(interpreter.arena_used_bytes()),
              static_cast<int>(kArenaSize));

  InputType* given = interpreter.typed_input_tensor<InputType>(0);
  for (int i = 0; i < kInputSize; ++i) given[i] = input[i];
  if (interpreter.Invoke() != kTfLiteOk) return -1;

  const OutputType* scores = interpreter.typed_output_tensor<OutputType>(0);
  int best = 0;
  for (int i = 1; i < kOutputSize; ++i) {
    if (scores[i] > scores[best]) best = i;
  }
  if (best < kLabelCount) MicroPrintf("%s", kLabels[best]);
  return best;
}
