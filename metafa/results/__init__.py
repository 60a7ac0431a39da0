"""Results: the store they are kept in, tables and their columns, upkeep, leases of whoever works on them.

It may import `studies`, and knows neither torch nor Ray.
"""
