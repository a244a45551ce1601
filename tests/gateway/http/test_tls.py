"""Certificate and key: whatever is wrong with them is one line, and nothing asks for a password."""

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.config.config import ConfigError
from gateway.http.tls import server_context


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two certificates and their keys, one key encrypted, and rubbish."""
    folder = tmp_path_factory.mktemp("pems")
    for name in ("a", "b"):
        issued = trustme.CA().issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        for pem in issued.cert_chain_pems:
            pem.write_to_path(folder / f"{name}.pem", append=True)
    key = serialization.load_pem_private_key((folder / "a.key").read_bytes(), None)
    (folder / "encrypted.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    (folder / "rubbish").write_text("no PEM at all")
    (folder / "empty").touch()
    return folder


def test_without_files_there_is_no_tls() -> None:
    assert server_context(None, None) is None


def test_a_pair(pems: Path) -> None:
    context = server_context(pems / "a.pem", pems / "a.key")
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# Why OpenSSL can't read a PEM is said differently by its versions.
@pytest.mark.parametrize(
    ("certfile", "keyfile", "reason"),
    [
        ("a.pem", None, "--ssl-certfile: needs --ssl-keyfile beside it"),
        (None, "a.key", "--ssl-keyfile: needs --ssl-certfile beside it"),
        ("none.pem", "a.key", "--ssl-certfile: can't read {0}/none.pem: No such file"),
        ("a.pem", "none.key", "--ssl-keyfile: can't read {0}/none.key: No such file"),
        (".", "a.key", "--ssl-certfile: can't read {0}: Is a directory"),
        ("a\0", "a.key", "--ssl-certfile: can't read "),
        ("a.pem", "b.key", "{0}/a.pem and {0}/b.key can't be used together: key values mismatch"),
        ("a.key", "a.pem", "{0}/a.key and {0}/a.pem can't be used together: "),
        ("rubbish", "a.key", "{0}/rubbish and {0}/a.key can't be used together: "),
        ("a.pem", "rubbish", "{0}/a.pem and {0}/rubbish can't be used together: "),
        ("empty", "empty", "{0}/empty and {0}/empty can't be used together: "),
        ("a.pem", "encrypted.key", "--ssl-keyfile: {0}/encrypted.key is encrypted"),
    ],
)
def test_refusals(pems: Path, certfile: str | None, keyfile: str | None, reason: str) -> None:
    files = [None if name is None else pems / name for name in (certfile, keyfile)]
    with pytest.raises(ConfigError) as caught:
        server_context(*files)
    assert reason.format(pems) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
