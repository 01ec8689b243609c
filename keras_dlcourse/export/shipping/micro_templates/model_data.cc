// Written by keras_dlcourse; do not edit.

#include "model_data.h"

alignas($alignment) const unsigned char kModel[kModelLength] = {
$bytes};

const char* const kLabels[] = {
$labels};
