import pytest

from scheduler.core.tokens import Scope, TokenRecord, holder, new_token, token_hash


def test_a_token_is_found_by_what_it_is_and_kept_as_a_hash() -> None:
    mine, other = new_token(), new_token()
    records = [TokenRecord.of(other, "other", []), TokenRecord.of(mine, "mine", [Scope.LEARN])]
    found = holder(records, mine)
    assert found is records[1]
    assert mine not in repr(records)
    assert found.sha256 == token_hash(mine)
    assert holder(records, new_token()) is None
    assert holder([], mine) is None


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("pilotcommit_") and len(token) > 50 for token in tokens)


@pytest.mark.parametrize("scope", list(Scope))
def test_every_token_reads_and_does_what_it_was_made_for(scope: Scope) -> None:
    record = TokenRecord.of("t", "t", [scope])
    assert {other for other in Scope if record.grants(other)} == {scope, Scope.READ}
