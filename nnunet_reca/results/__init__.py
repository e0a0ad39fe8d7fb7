"""What a trained model's folder holds, read once: labels, and a folder of ours written whole or not at all."""
