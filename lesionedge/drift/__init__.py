"""How far images are from those that a model was measured on; no labels are needed.

Statistics of predictions (``statistics``) are compared (``difference``) with those of the model's
reference (``reference``). ``words`` puts the result into words and ``metrics`` into Prometheus'
text format.
"""
