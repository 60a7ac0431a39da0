"""The kinds of layers, a file each; what is asked of every kind stands in `base`.

It may import `products` and the tables of `learning`, and torch.
"""
