"""Building blocks of convolutional networks; torch only."""
