"""What computes a backbone: torch with the fastest linear layers, OpenVINO, ONNX Runtime.

Engines that are not torch take and give NumPy arrays and need no torch once a model is translated.
"""
