"""What runs inside the images."""

import os

# ONNX Runtime tells its maker about every session, unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
