"""What the encoders learn from and are measured on: splits, captions, prepared parts."""
