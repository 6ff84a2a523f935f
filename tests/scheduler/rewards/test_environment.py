"""What a reward may see of the scheduler's environment."""

from scheduler.rewards.environment import harmless


def test_only_what_is_named_is_passed_on() -> None:
    environ = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "0",
        "PILOTCOMMIT_TOKEN": "t",
        "OPENAI_KEY": "k",
        "REDIS_URL": "redis://:p@h",
        "RULES": "strict",
    }
    assert harmless(environ).keys() == {"PATH", "LC_ALL", "PYTHONHASHSEED"}
    assert harmless(environ, ("RULES",)).keys() == {"PATH", "LC_ALL", "PYTHONHASHSEED", "RULES"}
