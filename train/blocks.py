"""What networks are built of, whichever framework builds them."""

MOBILENETV2_BLOCKS = (
    # expansion, channels, repeats, stride (Sandler et al. 2018, arXiv:1801.04381, table 2)
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Of MobileNetV2."""

CNN_BLOCKS = (32, 48, 64, 96)
"""Channels of the small custom network's pairs of convolutions."""
