from pathlib import Path

import pytest

from scripts.paths import CONFIG, ROOT
from scripts.server.frontend import Address, FrontEndError, read_front_end


def test_the_projects_own_settings_are_safe() -> None:
    front = read_front_end(CONFIG, {})
    assert ROOT / "config.properties" == CONFIG
    assert all(address.loopback for address in (front.inference, front.management, front.metrics))
    assert not front.tokens
    assert front.max_request_size == 16 * 2**20
    assert str(front.inference) == "127.0.0.1:8080"


def test_a_variable_wins_over_the_file() -> None:
    front = read_front_end(CONFIG, {"TS_INFERENCE_ADDRESS": "http://0.0.0.0:9000", "INFERENCE_ADDRESS": "x"})
    assert front.inference == Address("0.0.0.0", 9000)
    assert not front.inference.loopback
    assert front.inference.url == "http://127.0.0.1:9000"


def test_the_defaults_are_torchserves(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("# nothing\n! nothing\n\n")
    front = read_front_end(tmp_path / "config", {})
    assert front.tokens
    assert front.max_request_size == 6_553_500
    assert (front.grpc_inference.port, front.grpc_management.port) == (7070, 7071)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.test", "12.7.0.0", "127.example.test"])
def test_open_management_without_tokens_names_both_settings(host: str) -> None:
    opened = {"TS_MANAGEMENT_ADDRESS": f"http://{host}:8081"}
    with pytest.raises(FrontEndError, match=f"management_address=http://{host}:8081 and disable_token_authorization="):
        read_front_end(CONFIG, opened)
    with pytest.raises(FrontEndError, match="disable_token_authorization=true clash"):
        read_front_end(CONFIG, {**opened, "TS_DISABLE_TOKEN_AUTHORIZATION": "TRUE"})
    assert read_front_end(CONFIG, {**opened, "TS_DISABLE_TOKEN_AUTHORIZATION": "false"}).tokens


def test_grpc_management_stays_on_loopback_even_with_tokens() -> None:
    settings = {"TS_GRPC_MANAGEMENT_ADDRESS": "0.0.0.0", "TS_DISABLE_TOKEN_AUTHORIZATION": "false"}
    with pytest.raises(FrontEndError, match=r"grpc_management_address=0\.0\.0\.0, expected 127\.0\.0\.1"):
        read_front_end(CONFIG, settings)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TS_INFERENCE_ADDRESS", "https://0.0.0.0:8443", "inference_address: https://0.0.0.0:8443, expected http://"),
        ("TS_INFERENCE_ADDRESS", "unix:/tmp/x", "inference_address: unix:/tmp/x, expected http://HOST:PORT"),
        ("TS_INFERENCE_ADDRESS", "http://0.0.0.0", "expected http://HOST:PORT"),
        ("TS_METRICS_ADDRESS", "http://0.0.0.0:70000", "metrics_address: http://0.0.0.0:70000, expected"),
        ("TS_METRICS_ADDRESS", "http://[::1]:8082", "metrics_address"),
        ("TS_METRICS_ADDRESS", "http://127.0.0.1:8080", "inference_address and metrics_address have one port, 8080"),
        ("TS_GRPC_INFERENCE_PORT", "x", "grpc_inference_port: http://127.0.0.1:x, expected"),
        ("TS_MAX_REQUEST_SIZE", "16M", "max_request_size: 16M, expected a number of bytes"),
        ("TS_JOB_QUEUE_SIZE", "many", "job_queue_size: many, expected a number of requests"),
        ("REQUEST_TIMEOUT", "0", "REQUEST_TIMEOUT: 0, expected whole seconds, 1 or more"),
        ("STOP_GRACE", "4", "STOP_GRACE: 4, expected whole seconds, 5 or more"),
        ("CORS_ORIGINS", "*", "CORS_ORIGINS: *, expected origins such as https://app.example, apart by blanks"),
        (
            "CORS_ORIGINS",
            "http://a/",
            "CORS_ORIGINS: http://a/, expected origins such as https://app.example, apart by blanks",
        ),
    ],
)
def test_what_can_not_be(name: str, value: str, message: str) -> None:
    with pytest.raises(FrontEndError) as raised:
        read_front_end(CONFIG, {name: value})
    assert message in str(raised.value)


@pytest.mark.parametrize("line", ["a", "a b=c", "a:b=c", "a=b\\", "disable_token_authorization=$$OFF$$", "=b"])
def test_lines_that_java_would_read_otherwise(tmp_path: Path, line: str) -> None:
    (tmp_path / "config").write_text(f"# first\n{line}\n")
    with pytest.raises(FrontEndError, match="config: line 2: expected KEY=VALUE"):
        read_front_end(tmp_path / "config", {})


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FrontEndError, match="config: can't be read"):
        read_front_end(tmp_path / "config", {})
