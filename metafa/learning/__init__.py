"""Networks without weight transport, and how they learn: layers, rules, noise pretraining, adaptation, meta-training.

It imports torch, numpy and jaxtyping, and nothing else of metafa but `errors`: it runs wherever torch does.
"""
