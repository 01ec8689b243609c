#!/usr/bin/env bash
# Train once undisturbed and once with random kills until complete; then compare the runs.
# bash examples/train_through_kills.sh FOLDER [ARGUMENTS OF train ...]
set -euo pipefail
folder=${1:?usage: train_through_kills.sh FOLDER}
shift
job="$(dirname "$0")/train_through_kills.py"
# With several threads, the order of sums varies; with one thread, two runs are equal.
export TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=2

python "$job" train "$folder/undisturbed" "$@"
kills=0
while true; do
  python "$job" train "$folder/killed" "$@" &
  sleep $((7 + RANDOM % 8 + kills))  # longer each time: where Keras takes long to start, it ends, too
  kill -KILL $! 2>/dev/null || break # training is complete
  wait $! 2>/dev/null || true
  kills=$((kills + 1))
done
echo "killed $kills times"
python "$job" compare "$folder/undisturbed" "$folder/killed" "$folder/curves.png"
