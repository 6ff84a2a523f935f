"""Student's t, for intervals over a few prompts or seeds.

Owns: its 97.5 % quantile. Pure.
"""

from statistics import NormalDist


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, by Cornish and Fisher's expansion (Abramowitz and Stegun 26.7.5).

    Off by less than 1 % from 4 degrees of freedom on; below, exact values stand in.
    """
    exact = {1: 12.706, 2: 4.303, 3: 3.182}
    if degrees in exact:
        return exact[degrees]
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )
