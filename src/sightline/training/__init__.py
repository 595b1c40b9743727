"""Training of any nn.Module: the loop, and what it is made of."""
