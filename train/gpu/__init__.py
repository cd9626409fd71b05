"""Training on one GPU, with PyTorch: teachers, and students that learn from them.

The other trainings are made for two cores and take a teacher's answers from a file. Here teachers
see every changed picture that the students see (Beyer et al. 2022, "Knowledge distillation: A good
teacher is patient and consistent", arXiv:2106.05237), which is beyond two cores. What comes out are
folded weights, which ``python -m train fit --weights`` begins with: the quantization-aware stage,
calibration and card are TensorFlow's side. Needs PyTorch and timm, and nothing that needs
TensorFlow.
"""
