"""Names and contents that look like credentials, and those beside them that do not."""

from __future__ import annotations

import re

import pytest

from orchestrator.config.credentials import holds_credential, is_credential_file, is_credential_variable

VARIABLES = "DATABASE_DSN COOKIE SESSION_COOKIE BEARER JWT SIGNING_KEY SALT DB_PASS_2 SSHPASS MYSQL_PWD apiKey"
NO_VARIABLES = "PWD OLDPWD COMPASS BYPASS PATTERN PASSES KEYBOARD SALTWATER LEVEL TOKYO BEARERS_N DSNAME"

FILES = """
rootkey.csv accessKeys.csv ada_accessKeys.csv credentials.csv credentials credentials.json my-credentials.yaml
service-account.json service_account_2.json client_secret_12.json .streamlit/secrets.toml secrets.prod.yaml
terraform.tfstate terraform.tfstate.backup .oci .htpasswd rclone.conf .Renviron prod.env .databrickscfg
hf_token token.txt github-token.json gcp-key.json keystore.jks wallet.kdbx .condarc id_rsa~ id_rsa.bak .netrc~
aws.pem.txt deploy_rsa keys/ci_ed25519 passwords.txt db_password.txt apiKey.txt api-key.json .env.local sub/.env
"""
NO_FILES = """
secrets.py credentials.md tokenizer.json tokens.npy tokens.txt token_counts.csv token.npy vocabulary.txt monkey.json
keys.csv train.csv environment.yml env.py .env.example password_strength.csv rsa.py secretion.csv compass.txt a.npz
model.keras .gitignore requirements.txt data/profile_0.json keyframes.json
"""


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return re.findall(r"\S+", text)


@pytest.mark.parametrize("name", words(VARIABLES))
def test_a_variable_of_a_credential_is_recognized(name: str) -> None:
    assert is_credential_variable(name)


@pytest.mark.parametrize("name", words(NO_VARIABLES))
def test_another_variable_is_not(name: str) -> None:
    assert not is_credential_variable(name)


@pytest.mark.parametrize(
    ("value", "is_credential"),
    [
        ("Server=db;User=u;Password=hunter2", True),
        ("AccountName=a;AccountKey=abc==", True),
        ("Server=db;User=u", False),
        ("the password is optional", False),
    ],
)
def test_a_connection_string_with_a_password_is_recognized(value: str, is_credential: bool) -> None:
    assert is_credential_variable("X", value) == is_credential


@pytest.mark.parametrize("path", words(FILES))
def test_a_file_of_credentials_is_recognized(path: str) -> None:
    assert is_credential_file(path)


@pytest.mark.parametrize("path", words(NO_FILES))
def test_another_file_is_not(path: str) -> None:
    assert not is_credential_file(path)


@pytest.mark.parametrize(
    "content",
    [
        b"[default]\naws_access_key_id = AKIA" + b"A" * 16,
        b"x = 'ASIA" + b"B" * 16 + b"'",
        b"aws_secret_access_key=" + b"a/" * 20,
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n",
        b"-----BEGIN PRIVATE KEY-----\r\nabc\r\n",
        b"token: ghp_" + b"a" * 36,
        b"hf_" + b"x" * 34,
        b"AIza" + b"z" * 35,
    ],
)
def test_a_key_in_a_file_of_any_name_is_recognized(content: bytes) -> None:
    assert holds_credential(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"AKIAlow",
        b'text = "-----BEGIN PRIVATE KEY-----"',
        b"aws_secret_access_key = ${SECRET}",
        b"hf_hub_download()",
        bytes(range(256)) * 8,
        b"\x00" * (300 * 1024) + b"AKIA" + b"A" * 16,
    ],
)
def test_another_content_is_not(content: bytes) -> None:
    assert not holds_credential(content)
