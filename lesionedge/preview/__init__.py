"""Shows what the camera sees and what the model answers: in a window or in a browser."""
