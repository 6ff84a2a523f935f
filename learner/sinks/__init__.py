"""Where a step's numbers are written for people beside Prometheus: TensorBoard, Weights & Biases."""
