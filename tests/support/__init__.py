"""What test files share: commands, models, hand-made ONNX files, result files. Test files import none of each other."""
