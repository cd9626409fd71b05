"""From a trained float network to one that 8 bits can hold."""
