from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.prefixes import leaders


def test_one_of_each_few_shot_beginning_leads() -> None:
    one, other = (1, 2, 3, 4, 5, 6), (1, 2, 9, 9, 9, 9)
    prompts = [(*one, 20), (*other, 20), (*one, 21), (*other, 21, 22), (7,), (*one, 22)]
    assert leaders(prompts) == [0, 1, 4]


def test_prompts_with_nothing_in_common_all_lead() -> None:
    assert leaders([(3, 1), (2, 1), (1, 1)]) == [2, 1, 0]
    assert leaders([]) == []


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=12))
def test_every_prompt_leads_or_shares_half_of_itself_with_a_leader(prompts: list[list[int]]) -> None:
    found = leaders(prompts)
    assert len(set(found)) == len(found)
    for place, prompt in enumerate(prompts):
        half = prompt[: (len(prompt) + 1) // 2]
        assert place in found or any(prompts[leader][: len(half)] == half for leader in found)
