"""math: equality as math-verify sees it, in workers that are killed where it does not come to an end."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from scheduler.core.errors import InvalidInput, RewardFailed
from scheduler.core.types import Judgement
from scheduler.rewards import mathematics
from scheduler.rewards.pool import RewardPool
from scheduler.rewards.spec import RewardJob, parse_spec

RIGHT = Judgement(reward=1.0, correct=True)
WRONG = Judgement(reward=0.0, correct=False)
HANGING = ["9**9**9**9", "so it is $10^{10^{10}}$", r"\boxed{10000000000!}"]


@pytest.fixture(scope="module")
def judge() -> Callable[[str, str], Judgement]:
    return mathematics.load()


@pytest.fixture
async def pool() -> AsyncIterator[RewardPool]:
    started = RewardPool(2)
    yield started
    await started.close()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So we get $\frac{2}{4}$.", "1/2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("It is 0.5", r"$\frac12$"),
        ("1,234 apples", "1234"),
        (r"the interval $(1, 2)$", "(1,2)"),
        (r"\boxed{2\sqrt{3}}", r"\sqrt{12}"),
        (r"\boxed{x^2 + 2x + 1}", "(x+1)^2"),
        (r"$\{2, 1\}$", r"\{1,2\}"),
        (r"\boxed{\text{Friday}}", r"\text{Friday}"),
    ],
)
def test_what_is_mathematically_the_answer_is_right(
    judge: Callable[[str, str], Judgement], text: str, answer: str
) -> None:
    assert judge(text, answer) == RIGHT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no idea",
        r"\boxed{\frac{1}{",
        "$$$$",
        "0.51",
        "(" * 5000,
        "$" + "9" * 20_000 + "$",
        "a" * 1_000_000,
        "\0\ud800",
    ],
    ids=lambda text: text[:12].encode(errors="replace").decode(),
)
def test_a_text_that_makes_no_sense_is_wrong_however_long(judge: Callable[[str, str], Judgement], text: str) -> None:
    assert judge(text, "1/2") == WRONG


def test_an_answer_that_cannot_be_read_is_never_a_zero(judge: Callable[[str, str], Judgement]) -> None:
    with pytest.raises(ValueError, match="math-verify reads nothing in the reference answer"):
        judge("1", "$ $")


async def test_verifications_that_hang_fail_alone_and_in_time(pool: RewardPool) -> None:
    spec = parse_spec({"kind": "math", "timeout_s": 1})
    texts = ["0.5", HANGING[0], r"\boxed{\frac12}", HANGING[1], "0.6", HANGING[2], "1/2"]
    answers = await pool.judge(spec, [RewardJob(text=text, answer="1/2") for text in texts])
    assert [answer for answer, text in zip(answers, texts, strict=True) if text not in HANGING] == [
        RIGHT,
        RIGHT,
        WRONG,
        RIGHT,
    ]
    failed = [str(answer) for answer in answers if isinstance(answer, RewardFailed)]
    assert failed == ["took longer than 1 s and was killed"] * len(HANGING)


async def test_without_the_package_a_pool_is_told_what_to_install(
    pool: RewardPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What stands first on the import path is what workers find.
    (tmp_path / "math_verify.py").write_text("raise ModuleNotFoundError('none here', name='math_verify')")
    (tmp_path / "reasoning_gym.py").write_text("raise ModuleNotFoundError('none here', name='reasoning_gym')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(InvalidInput, match=r"reward math: it needs math-verify, .*pip install 'pilotcommit\[math\]'"):
        await pool.check(parse_spec("math"))
    with pytest.raises(InvalidInput, match=r"reward reasoning_gym: .*pip install 'pilotcommit\[reasoning\]'"):
        await pool.check(parse_spec("reasoning_gym"))
