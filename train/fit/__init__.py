"""The trainer: stages of epochs over randomly changed images."""
