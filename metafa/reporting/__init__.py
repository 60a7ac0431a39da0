"""What results say: conditions, statistics, comparisons, claims, figures and the report.

It may import `results`, `studies` and `tasks`, and knows neither torch nor Ray.
"""
