"""One trial: its phases in order, what is measured on the way, and checkpoints from which it goes on.

It may import `results`, `tasks`, `studies` and `learning`, and knows no Ray.
"""
