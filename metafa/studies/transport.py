"""Weight transport: what of the forward weights each credit assignment rule reads to send errors back.

``weights``: all of it. ``signs``: their signs. ``none``: nothing. Here alone, since both the rules and what
`metafa check` says of a study, which knows no torch, go by it; the tests hold every rule to it.
"""

TRANSPORT = {
    "backprop": "weights",
    "feedback_alignment": "none",
    "direct_feedback_alignment": "none",
    "sign_symmetry_uniform": "signs",
    "sign_symmetry_fixed": "signs",
    "sign_symmetry_random": "signs",
    "kolen_pollack": "none",
    "nested_kolen_pollack": "none",
    "weight_mirror": "none",
}
