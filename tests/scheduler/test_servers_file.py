"""What the file of servers says of each, and how its mistakes are told."""

from pathlib import Path

import pytest

from scheduler.core.errors import InvalidInput
from scheduler.servers_file import Described, ServersFile
from scheduler.tls import ClientTls
from tests.certificates import Authority

URL = "http://10.0.0.7:30000"


def make_file(folder: Path, text: str) -> ServersFile:
    path = folder / "servers.toml"
    path.write_text(text)
    return ServersFile(path=path)


def test_without_a_file_nothing_is_particular_of_any_server() -> None:
    assert ServersFile(path=None).of(URL) == Described()


def test_a_table_says_what_differs_of_one_server_and_nothing_of_another(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    (tmp_path / "key").write_text("secret\n")
    file = make_file(
        tmp_path,
        f"""
        ["HTTP://10.0.0.7:30000/"]
        labels = {{ gpu = "h100" }}
        api_key_file = "{tmp_path / "key"}"
        admin_api_key_file = "{tmp_path / "key"}"
        ca_file = "{authority.ca_file}"
        folders = {{ "/runs" = "/mnt/nfs/runs" }}
        """,
    )
    file.check()
    found = file.of(URL)
    assert (found.labels, found.api_key, found.admin_api_key) == ({"gpu": "h100"}, "secret", "secret")
    assert found.tls == ClientTls(ca_file=authority.ca_file)
    assert found.paths.at_servers("/runs/a/w1") == "/mnt/nfs/runs/a/w1"
    assert not found.paths.maps("/elsewhere/w1")
    assert "secret" not in repr(found)
    assert file.of("http://other:30000") == Described()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "cannot be read"),
        ("[node]\n", "'node' is not an address"),
        (f'["{URL}"]\n["{URL}/"]\n', f"{URL} has two tables"),
        (f'["{URL}"]\nlabel = 1\n', f"label of {URL}: Extra inputs are not permitted; known are labels, api_key_file"),
        (f'["{URL}"]\nlabels = {{ gpu = "h 100" }}\n', f"labels of {URL}: 'h 100' in gpu=h 100 is no word of a label"),
        (f'["{URL}"]\nlabels = {{ gpu = 1 }}\n', f"labels.gpu of {URL}: Input should be a valid string"),
        (f'["{URL}"]\napi_key_file = "/none"\n', f"api_key_file of {URL}: '/none', which cannot be read"),
        (f'["{URL}"]\nca_file = "/none"\n', f"ca_file of {URL}: /none cannot be read"),
        (f'["{URL}"]\nfolders = {{ runs = "/mnt" }}\n', f"folders of {URL}: 'runs' is no absolute folder"),
        (f'["{URL}"]\nfolders = {{ "/runs" = "/mnt/../x" }}\n', "'/mnt/../x' is no absolute folder"),
        ("servers = 3\n", "'servers' is not an address"),
        (f'"{URL}" = 3\n', f"its table of {URL}"),
    ],
)
def test_a_mistake_is_told_with_the_server_and_the_field(text: str, said: str, tmp_path: Path) -> None:
    file = make_file(tmp_path, text)
    with pytest.raises(InvalidInput) as refused:
        file.check()
    assert said in str(refused.value)
    assert str(file.path) in str(refused.value)
    assert refused.value.field == "servers_file"
