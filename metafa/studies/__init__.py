"""What a study file may say: every setting, its search space, and what is said of mistakes.

It reads files into studies and trials and knows no torch; of metafa it may import tables of `learning` that know none.
"""
