"""Training for integers: the rules, the plan, the quantization-aware copy, and its ranges."""
